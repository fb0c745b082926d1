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

// checkNames reports names that are used twice: those of services and workers in the whole run, and those of generated
// declarations in each package.
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
				sc.reportDirective(t.directive, diag.BadValue,
					fmt.Sprintf("%s %s would be called %q, which is not a valid name", kind, t.name(), name),
					"give it a name with name=…: "+directive.NameRule)
				continue
			}
			key := kind + " " + nameOf(t)
			if other := first[key]; other != nil {
				sc.reportDirective(t.directive, diag.DuplicateName,
					fmt.Sprintf("%s name %q is already used by %s.%s at %s",
						kind, nameOf(t), packageOf(other), other.name(), sc.place(sc.Position(other.spec.Pos()))),
					"give one of them another name, such as "+qualifiedName(t))
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

// packageOf returns the name of a type's package.
func packageOf(t *annotated) string { return t.file.AST.Name.Name }

// qualifiedName suggests a name= option for a type whose name is used: its package and type name.
func qualifiedName(t *annotated) string {
	name := directive.SnakeCase(packageOf(t)) + "." + directive.SnakeCase(t.name())
	if !directive.ValidName(name) || packageOf(t) == "main" {
		return "name=…"
	}
	return "name=" + name
}

// checkJobs reports jobs with the same id. first has the jobs of earlier packages.
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
				at := token.Position{Filename: other.Pos.File, Line: other.Pos.Line, Column: other.Pos.Column}
				sc.reportValue(id, diag.DuplicateJob,
					fmt.Sprintf("job id %q is already used at %s", j.options.ID, sc.place(at)), "give one of them another id")
			}
		}
	}
}

// place returns a position for a message, relative to the working directory.
func (sc *scanner) place(at token.Position) string {
	return fmt.Sprintf("%s:%d:%d", filepath.ToSlash(pattern.Relative(sc.config.Dir, at.Filename)), at.Line, at.Column)
}

// reportDirective reports a diagnostic at a directive.
func (sc *scanner) reportDirective(d *directive.Directive, code diag.Code, message, hint string) {
	sc.problems = append(sc.problems, diag.Diagnostic{
		Code: code, Pos: d.Pos, Width: d.Width, Message: message, Hint: hint,
	})
}

// reportValue reports a diagnostic at the value of an argument of a directive.
func (sc *scanner) reportValue(a directive.Arg, code diag.Code, message, hint string) {
	sc.problems = append(sc.problems, diag.Diagnostic{
		Code: code, Pos: a.ValuePos, Width: a.ValueWidth, Message: message, Hint: hint,
	})
}

// reportFileInTheWay reports a file that afgen didn't write and whose name it needs.
func (sc *scanner) reportFileInTheWay(file string) {
	sc.Report(token.Position{Filename: file, Line: 1, Column: 1}, 1, diag.FileInTheWay,
		filepath.Base(file)+" exists and was not written by afgen", "afgen needs this name: rename or remove the file")
}

// checkGenerated reports exported names that generated code would declare twice in a package.
func (sc *scanner) checkGenerated(u *unit) {
	by := map[string]*annotated{}
	for _, t := range u.types {
		if !t.broken {
			sc.checkDeclared(u, t, ownNames(u, t), by)
		}
	}
}

// checkDeclared reports generated names of t that package u or another type already declares.
func (sc *scanner) checkDeclared(u *unit, t *annotated, names []string, by map[string]*annotated) {
	for _, name := range names {
		at, ok := u.Taken[name]
		if !ok {
			at, ok = u.ImportNames[name]
		}
		if ok {
			sc.reportDirective(t.directive, diag.NameTaken,
				fmt.Sprintf("afgen would declare %s for %s, but it is declared at %s", name, t.name(), sc.place(at)),
				"rename one of them")
		}
		if other := by[name]; other != nil {
			sc.reportDirective(t.directive, diag.NameTaken,
				fmt.Sprintf("afgen would declare %s for both %s and %s", name, sc.seenFrom(t, other), t.name()),
				"rename one of the types")
		}
		by[name] = t
	}
}

// seenFrom returns the name of another type for a message about t.
func (sc *scanner) seenFrom(t, other *annotated) string {
	if filepath.Dir(t.file.Name) == filepath.Dir(other.file.Name) {
		return other.name()
	}
	return fmt.Sprintf("%s (at %s)", other.name(), sc.place(sc.Position(other.spec.Pos())))
}

// ownNames returns the exported names that generated code declares for a type in its own package. Other generated names
// avoid conflicts.
func ownNames(u *unit, t *annotated) []string {
	names := []string{"Register" + t.name()}
	if clientOf(u, t) == "" {
		names = append(clientNames(t), names...)
	}
	return names
}

// clientNames returns the exported names of its client half.
func clientNames(t *annotated) []string {
	n := t.name()
	if t.isWorker() {
		return []string{n + "Queue", "New" + n + "Queue"}
	}
	return []string{n + "API", n + "Client", "New" + n + "Client"}
}

// checkOutputNames reports files of an annotated package that have the name of a generated file but are not generated.
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
		sc.reportFileInTheWay(name)
	}
}
