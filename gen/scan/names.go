package scan

import (
	"cmp"
	"fmt"
	"go/token"
	"path/filepath"
	"slices"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/directive"
)

// checkNames looks for names that meet: of services and workers all over the run, and of what is to be generated in
// each package.
func (w *loader) checkNames(units []*unit) {
	units = slices.Clone(units)
	slices.SortFunc(units, func(a, b *unit) int { return cmp.Compare(a.pkg.PkgPath, b.pkg.PkgPath) })
	first, jobs := map[string]*annotated{}, map[string]*directive.Directive{}
	for _, u := range units {
		for _, t := range u.types {
			kind := "service"
			if t.isWorker() {
				kind = "worker"
			}
			if name := nameOf(t); !t.broken && !directive.ValidName(name) {
				w.problem(t, diag.BadValue, fmt.Sprintf("%s %s would be called %q, which is not a name", kind, t.name(), name),
					"give it one by name=…: "+directive.NameRule)
				continue
			}
			key := kind + " " + nameOf(t)
			if other := first[key]; other != nil {
				w.problem(t, diag.DuplicateName, fmt.Sprintf("%s %q is %s.%s already, at %s", kind, nameOf(t), packageOf(other), other.name(),
					w.place(w.fset.PositionFor(other.spec.Pos(), false))), "give one of them another name, such as "+qualifiedName(t))
				continue
			}
			first[key] = t
		}
		w.checkJobs(u, jobs)
		w.checkGenerated(u)
		w.checkOutputNames(u)
		w.checkInside(u)
	}
}

// packageOf is what the package of a type calls itself.
func packageOf(t *annotated) string { return t.file.ast.Name.Name }

// qualifiedName proposes a name for a type whose name another package has: by name=, made of the package and the type.
func qualifiedName(t *annotated) string {
	name := directive.SnakeCase(packageOf(t)) + "." + directive.SnakeCase(t.name())
	if !directive.ValidName(name) || packageOf(t) == "main" {
		return "name=…"
	}
	return "name=" + name
}

// checkJobs looks for jobs of one id; first has those of the packages before.
func (w *loader) checkJobs(u *unit, first map[string]*directive.Directive) {
	for _, t := range u.types {
		for _, j := range t.jobs {
			other := first[j.options.ID]
			switch {
			case j.options.ID == "":
			case other == nil:
				first[j.options.ID] = j.directive
			default:
				id, _ := j.directive.Arg("id")
				w.problems = append(w.problems, diag.Diagnostic{Code: diag.DuplicateJob, Pos: id.ValuePos, Width: id.ValueWidth,
					Message: fmt.Sprintf("there is a job %q already, at %s", j.options.ID,
						w.place(token.Position{Filename: other.Pos.File, Line: other.Pos.Line, Column: other.Pos.Column})),
					Hint: "give one of them another id"})
			}
		}
	}
}

// place spells a position in a message, as seen from where afgen runs, like those that diagnostics begin with.
func (w *loader) place(at token.Position) string {
	return fmt.Sprintf("%s:%d:%d", filepath.ToSlash(relative(w.config.Dir, at.Filename)), at.Line, at.Column)
}

func (w *loader) problem(t *annotated, code diag.Code, message, hint string) {
	d := t.directive
	w.problems = append(w.problems, diag.Diagnostic{Code: code, Pos: d.Pos, Width: d.Width, Message: message, Hint: hint})
}

// checkGenerated looks for exported names that would be declared twice in the packages' own files.
func (w *loader) checkGenerated(u *unit) {
	by := map[string]*annotated{}
	for _, t := range u.types {
		if !t.broken {
			w.checkDeclared(u, t, ownNames(u, t), by)
		}
	}
}

// checkDeclared looks for names for t that package u has already, or that another type has brought about.
func (w *loader) checkDeclared(u *unit, t *annotated, names []string, by map[string]*annotated) {
	for _, name := range names {
		at, ok := u.taken[name]
		if !ok {
			at, ok = u.importNames[name]
		}
		if ok {
			w.problem(t, diag.NameTaken, fmt.Sprintf("afgen would declare %s for %s, and %s has that name", name, t.name(), w.place(at)),
				"rename one of them")
		}
		if other := by[name]; other != nil {
			w.problem(t, diag.NameTaken, fmt.Sprintf("afgen would declare %s for %s and for %s", name, w.seenFrom(t, other), t.name()),
				"rename one of the types")
		}
		by[name] = t
	}
}

// seenFrom names another type in a message about t.
func (w *loader) seenFrom(t, other *annotated) string {
	if filepath.Dir(t.file.name) == filepath.Dir(other.file.name) {
		return other.name()
	}
	return fmt.Sprintf("%s (at %s)", other.name(), w.place(w.fset.PositionFor(other.spec.Pos(), false)))
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
