package scan

import (
	"cmp"
	"fmt"
	"go/token"
	"os"
	"path/filepath"
	"slices"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/directive"
	"github.com/afgen/afgen/gen/scan/internal/buildtag"
	"github.com/afgen/afgen/gen/scan/internal/pattern"
)

// checkNames looks for names that meet: of services and workers all over the run, and of what is to be generated in
// each package.
func (sc *scanner) checkNames(units []*unit) {
	units = slices.Clone(units)
	slices.SortFunc(units, func(a, b *unit) int { return cmp.Compare(a.Pkg.PkgPath, b.Pkg.PkgPath) })
	first, jobs := map[string]*annotated{}, map[string]*directive.Directive{}
	for _, u := range units {
		for _, t := range u.types {
			kind := "service"
			if t.isWorker() {
				kind = "worker"
			}
			if name := nameOf(t); !t.broken && !directive.ValidName(name) {
				sc.reportDirective(t.directive, diag.BadValue, fmt.Sprintf("%s %s would be called %q, which is not a name", kind, t.name(), name),
					"give it one by name=…: "+directive.NameRule)
				continue
			}
			key := kind + " " + nameOf(t)
			if other := first[key]; other != nil {
				sc.reportDirective(t.directive, diag.DuplicateName, fmt.Sprintf("%s %q is %s.%s already, at %s", kind, nameOf(t), packageOf(other), other.name(),
					sc.place(sc.Position(other.spec.Pos()))), "give one of them another name, such as "+qualifiedName(t))
				continue
			}
			first[key] = t
		}
		sc.checkJobs(u, jobs)
		sc.checkGenerated(u)
		sc.checkOutputNames(u)
		sc.checkInside(u)
	}
}

// packageOf is what the package of a type calls itself.
func packageOf(t *annotated) string { return t.file.AST.Name.Name }

// qualifiedName proposes a name for a type whose name another package has: by name=, made of the package and the type.
func qualifiedName(t *annotated) string {
	name := directive.SnakeCase(packageOf(t)) + "." + directive.SnakeCase(t.name())
	if !directive.ValidName(name) || packageOf(t) == "main" {
		return "name=…"
	}
	return "name=" + name
}

// checkJobs looks for jobs of one id; first has those of the packages before.
func (sc *scanner) checkJobs(u *unit, first map[string]*directive.Directive) {
	for _, t := range u.types {
		for _, j := range t.jobs {
			other := first[j.options.ID]
			switch {
			case j.options.ID == "":
			case other == nil:
				first[j.options.ID] = j.directive
			default:
				id, _ := j.directive.Arg("id")
				sc.reportValue(id, diag.DuplicateJob, fmt.Sprintf("there is a job %q already, at %s", j.options.ID,
					sc.place(token.Position{Filename: other.Pos.File, Line: other.Pos.Line, Column: other.Pos.Column})), "give one of them another id")
			}
		}
	}
}

// place spells a position in a message, as seen from where afgen runs, like those that diagnostics begin with.
func (sc *scanner) place(at token.Position) string {
	return fmt.Sprintf("%s:%d:%d", filepath.ToSlash(pattern.Relative(sc.config.Dir, at.Filename)), at.Line, at.Column)
}

// reportDirective reports a diagnostic at a directive.
func (sc *scanner) reportDirective(d *directive.Directive, code diag.Code, message, hint string) {
	sc.problems = append(sc.problems, diag.Diagnostic{Code: code, Pos: d.Pos, Width: d.Width, Message: message, Hint: hint})
}

// reportValue reports a diagnostic at the value of an argument of a directive.
func (sc *scanner) reportValue(a directive.Arg, code diag.Code, message, hint string) {
	sc.problems = append(sc.problems, diag.Diagnostic{Code: code, Pos: a.ValuePos, Width: a.ValueWidth, Message: message, Hint: hint})
}

// checkGenerated looks for exported names that would be declared twice in the packages' own files.
func (sc *scanner) checkGenerated(u *unit) {
	by := map[string]*annotated{}
	for _, t := range u.types {
		if !t.broken {
			sc.checkDeclared(u, t, ownNames(u, t), by)
		}
	}
}

// checkDeclared looks for names for t that package u has already, or that another type has brought about.
func (sc *scanner) checkDeclared(u *unit, t *annotated, names []string, by map[string]*annotated) {
	for _, name := range names {
		at, ok := u.Taken[name]
		if !ok {
			at, ok = u.ImportNames[name]
		}
		if ok {
			sc.reportDirective(t.directive, diag.NameTaken, fmt.Sprintf("afgen would declare %s for %s, and %s has that name", name, t.name(), sc.place(at)),
				"rename one of them")
		}
		if other := by[name]; other != nil {
			sc.reportDirective(t.directive, diag.NameTaken, fmt.Sprintf("afgen would declare %s for %s and for %s", name, sc.seenFrom(t, other), t.name()),
				"rename one of the types")
		}
		by[name] = t
	}
}

// seenFrom names another type in a message about t.
func (sc *scanner) seenFrom(t, other *annotated) string {
	if filepath.Dir(t.file.Name) == filepath.Dir(other.file.Name) {
		return other.name()
	}
	return fmt.Sprintf("%s (at %s)", other.name(), sc.place(sc.Position(other.spec.Pos())))
}

// ownNames are the exported package-level names that a type brings about in its own package; helpers give way by
// themselves.
func ownNames(u *unit, t *annotated) []string {
	names := []string{"Register" + t.name()}
	if clientOf(u, t) == "" {
		names = append(clientNames(t), names...)
	}
	return names
}

// clientNames are those of its client half.
func clientNames(t *annotated) []string {
	n := t.name()
	if t.isWorker() {
		return []string{n + "Queue", "New" + n + "Queue"}
	}
	return []string{n + "API", n + "Client", "New" + n + "Client"}
}

// checkOutputNames reports the files of an annotated package that have the names of afgen's output and aren't.
func (sc *scanner) checkOutputNames(u *unit) {
	names := slices.Clone(sc.config.OutputNames)
	for _, t := range u.types {
		if sc.config.ConstrainedFile != nil && t.constraint != nil {
			names = append(names, sc.config.ConstrainedFile(buildtag.String(t.constraint)))
		}
	}
	for _, base := range names {
		name := filepath.Join(u.Pkg.Dir, base)
		content, err := os.ReadFile(name)
		if err != nil || sc.config.Generated(base, content) {
			continue
		}
		sc.Sources[name] = content
		sc.Report(token.Position{Filename: name, Line: 1, Column: 1}, 1, diag.FileInTheWay, base+" exists and afgen didn't write it",
			"afgen needs this name: rename the file, or remove it")
	}
}
