// Package scan reads Go code: it finds the annotated packages, type-checks what their signatures mention and nothing
// else, and returns what it found as intermediate representation.
//
// # Phases, one a file
//
//   - find: expand the patterns to directories and pick, by a byte search for af:, those worth loading.
//   - load: one packages.Load lists those and all they import; no type information is asked for.
//   - survey: look at the other files of their directories, for names that are taken and for what is broken.
//   - annotate: match every directive in the files with the declaration it belongs to.
//   - need: from the annotated signatures on, follow each name to its declaration, through packages, until nothing new
//     is mentioned.
//   - check: type-check each package touched, pruned to the declarations needed, without function bodies. A package
//     that no signature mentions is not even parsed.
//   - analyze: turn the checked signatures into an [ir.Package]. Types that don't arrive as they are sent are refused:
//     rules has the reasons, encoding and members apply encoding/json's rules for the position of each value.
//   - elsewhere: for annotated files that build constraints exclude, all this again on another system that includes them.
//   - merge: one package of what all systems have of it, with the constraints of its services and workers.
//   - client: find the packages that client halves go into, and whether they can.
//
// So the cost follows what signatures mention, not what the module imports. And code that doesn't compile yet, because
// it uses what is still to be generated or is being edited, is read all the same, while a mistake inside an annotated
// signature is reported at its place. afgen's own output is never read.
//
// All that is wrong with the code is in the diagnostics; an error means that it could not be read at all.
package scan

import (
	"context"
	"go/build/constraint"
	"go/token"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/ir"
)

// Config is what to scan.
type Config struct {
	Dir      string   // where patterns are relative to
	Patterns []string // as the go command's; none is "."
	Tags     string   // build tags, as for go build -tags
	Env      []string // of the go command; nil is the process's
	// OutputNames are what afgen calls its outputs; Generated reports whether a file is one.
	OutputNames []string
	Generated   func(name string, content []byte) bool
	// ConstrainedFile returns the name of the file for what is behind a build constraint; nil if there is none.
	ConstrainedFile func(constraint string) string
	// ClientFile is what the file for the client half of a service or worker of that name is called.
	ClientFile func(name string) string
}

// patterns returns a copy of the patterns, or what none mean.
func (c Config) patterns() []string {
	if len(c.Patterns) == 0 {
		return []string{"."}
	}
	return slices.Clone(c.Patterns)
}

// A Result is what a scan found.
type Result struct {
	Packages []Package
	// Clients are the packages that client halves of Packages go into.
	Clients []Client
	// Outputs are the files that afgen generated earlier, in any directory that the patterns name.
	Outputs []string
	// Skipped are the files that carry annotations and are not scanned. Kept are those among them whose output stays.
	Skipped []Skipped
	Kept    []Kept
	// Diagnostics is all that is wrong with the code, sorted. A package that any of it concerns may be incomplete.
	Diagnostics diag.List
	// Warnings is what is accepted and worth a look, sorted.
	Warnings diag.List
	// Inputs is what all this depends on.
	Inputs  Inputs
	sources map[string][]byte
	loader  *loader
	found   *found
}

// A Package is an annotated package, the directory it lives in and the place of its first annotation.
type Package struct {
	Dir string
	IR  *ir.Package
	Pos diag.Pos
	// Places says where annotated types are declared, by name, and their remote methods, as Type.Method.
	Places map[string]diag.Pos
}

// A Client is a package for client halves and the directory it lives in, or will.
type Client struct {
	Dir string
	IR  ir.Client
}

// A Skipped is a file with annotations that was not scanned, and why.
type Skipped struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

// Source returns the content of a file as it was scanned.
func (r *Result) Source(file string) ([]byte, bool) {
	src, ok := r.sources[file]
	return src, ok
}

// Dir returns where the package of an import path is, or would be, if that is in a module that afgen may write to.
func (r *Result) Dir(importPath string) (dir string, ok bool) {
	dir, why := r.loader.dirOfPackage(importPath)
	return dir, why == ""
}

// Searched reports whether the patterns name a directory.
func (r *Result) Searched(dir string) bool {
	_, ok := r.found.searched[dir]
	return ok
}

// Keeps reports whether a directory has annotated files that can't be analysed here, so that output in it may belong to
// them.
func (r *Result) Keeps(dir string) bool {
	return slices.ContainsFunc(r.Kept, func(k Kept) bool { return k.Dir == dir })
}

// Matches reports whether the patterns name a directory, which need not be there, or a package's import path.
func (r *Result) Matches(dir, importPath string) bool {
	return slices.ContainsFunc(r.loader.config.patterns(), func(p string) bool { return matches(r.loader.config.Dir, p, dir, importPath) })
}

// Scan reads the packages that the patterns name. Its error means that they could not be loaded; what is wrong inside
// them is in the Result.
func Scan(ctx context.Context, cfg Config) (*Result, error) {
	return newLoader(cfg).scan(ctx)
}

func newLoader(cfg Config) *loader {
	return &loader{config: cfg, fset: token.NewFileSet(), units: map[string]*unit{}, sources: map[string][]byte{},
		leadsNot: map[string]map[string]bool{}, links: links{}, warned: map[token.Pos]bool{}, constraints: map[string]constraint.Expr{}}
}

// scan goes through the phases.
func (w *loader) scan(ctx context.Context) (*Result, error) {
	found, err := find(w.config)
	if err != nil {
		return nil, err
	}
	roots, err := w.load(ctx, found)
	if err != nil {
		return nil, err
	}
	for _, u := range roots { // those that only the go command could find are still to be searched
		if _, err := found.search(w.config, u.pkg.Dir); err != nil {
			return nil, err
		}
	}
	slices.Sort(found.outputs)
	res := &Result{Outputs: found.outputs, Skipped: found.skipped, sources: w.sources,
		loader: w, found: found}
	for _, u := range roots {
		if u.broken {
			continue // its files are not what they are meant to be, and a syntax error brings about many others
		}
		if w.guard(u, func() { w.annotate(u) }); len(u.types) > 0 {
			w.annotated = append(w.annotated, u)
		}
	}
	parts := w.analyzeAll()
	others, err := w.loadOthers(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		parts = append(parts, o.analyzeAll()...)
		w.absorb(o)
	}
	var annotated []*unit
	annotated, res.Packages = w.merge(parts)
	w.checkNames(annotated)
	w.checkPayloads()
	res.Clients = w.clients(annotated, res.Packages)
	res.Inputs = w.inputs(found, res.Clients)
	res.Skipped, res.Kept = append(res.Skipped, w.skipped...), w.kept
	res.Diagnostics = w.problems
	res.Diagnostics.Sort()
	res.Warnings = w.warnings
	res.Warnings.Sort()
	slices.SortFunc(res.Packages, func(a, b Package) int { return strings.Compare(a.IR.Path, b.IR.Path) })
	slices.SortFunc(res.Skipped, func(a, b Skipped) int { return strings.Compare(a.File, b.File) })
	return res, nil
}

// guard does a part of the work on one package. If that panics, afgen is at fault: it says so at the declaration it was
// at, and the other packages are still looked at. What is left to do on this one is not done.
func (w *loader) guard(u *unit, work func()) {
	if u.failed {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			u.failed = true
			w.problems = append(w.problems, diag.Bug(w.where(u), "package "+u.pkg.PkgPath, p, debug.Stack()))
		}
	}()
	work()
}

// where is the declaration of a package that is being worked on.
func (w *loader) where(u *unit) diag.Pos {
	pos := u.at
	for i := 0; !pos.IsValid() && i < len(u.files); i++ {
		pos = u.files[i].ast.Package
	}
	if !pos.IsValid() {
		return diag.Pos{File: u.pkg.Dir}
	}
	at := w.fset.PositionFor(pos, false)
	return diag.Pos{File: at.Filename, Line: at.Line, Column: at.Column}
}
