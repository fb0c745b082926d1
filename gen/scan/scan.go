// Package scan reads Go code: it finds the annotated packages, type-checks what their signatures mention and nothing
// else, and returns what it found as intermediate representation.
//
// # Phases
//
// A scanner goes through them in this order. Each is in the file of its name, unless a package has it:
//
//   - find: expand the patterns to directories and pick, by a byte search for af:, those worth loading.
//   - load (package load): one packages.Load lists those and all they import; no type information is asked for. The other
//     files of their directories are looked at, for names that are taken and for what is broken.
//   - annotate: match every directive in the files with the declaration it belongs to.
//   - need and check (package load): from the annotated signatures on, follow each name to its declaration, and type-check
//     each package touched, pruned to the declarations needed. A package that no signature mentions is not even parsed.
//   - analyze: turn the checked signatures into an [ir.Package]. Types that don't arrive as they are sent are refused:
//     rules has the reasons, each with its check; encoding and members apply encoding/json's rules for the position of each value.
//   - elsewhere: for annotated files that build constraints exclude, all this again on another system that includes them
//     (package buildtag finds it).
//   - merge: one package of what all systems have of it, with the constraints of its services and workers.
//   - client: find the packages that client halves go into, and whether they can.
//
// So the cost follows what signatures mention, not what the module imports. And code that doesn't compile yet, because
// it uses what is still to be generated or is being edited, is read all the same, while a mistake inside an annotated
// signature is reported at its place. Afgen's own output is never read.
//
// All that is wrong with the code is in the diagnostics; an error means that it could not be read at all.
package scan

import (
	"context"
	"go/build/constraint"
	"go/token"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/gen/scan/internal/load"
	"github.com/afgen/afgen/gen/scan/internal/pattern"
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
	scanner *scanner
	found   *found
}

// A Package is an annotated package, the directory it lives in and the place of its first annotation.
type Package struct {
	Dir string
	IR  *ir.Package
	Pos diag.Pos
	// Places is where annotated types are declared, by name, and their remote methods, as Type.Method.
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
	dir, why := r.scanner.DirOfPackage(importPath)
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
	return slices.ContainsFunc(r.scanner.config.patterns(), func(p string) bool { return pattern.Matches(r.scanner.config.Dir, p, dir, importPath) })
}

// Scan reads the packages that the patterns name. Its error means that they could not be loaded; what is wrong inside
// them is in the Result.
func Scan(ctx context.Context, cfg Config) (*Result, error) {
	return newScanner(cfg, nil, false).scan(ctx)
}

// A scanner is at work on one scan: what it has loaded, and what it has found there.
type scanner struct {
	*load.Loader
	config   Config
	links    load.Links
	problems diag.List
	warnings diag.List
	warned   map[token.Pos]bool // by warnings
	skipped  []Skipped
	leadsNot map[string]map[string]bool // see importWay

	roots       map[string]*unit // the packages that were asked for, by import path
	annotated   []*unit
	excluded    []excluded
	kept        []Kept
	constraints map[string]constraint.Expr // of files
}

// A unit is a package that was asked for, and what is annotated in it.
type unit struct {
	*load.Unit
	types  []*annotated // by name
	hidden []hidden     // methods in files that are excluded
}

// newScanner returns a scanner that has loaded nothing. Share is one that has its files and positions in common with it; it
// may be nil. AllTags is as in load.Config.
func newScanner(cfg Config, share *load.Loader, allTags bool) *scanner {
	sc := &scanner{config: cfg, leadsNot: map[string]map[string]bool{}, links: load.Links{}, warned: map[token.Pos]bool{},
		roots: map[string]*unit{}, constraints: map[string]constraint.Expr{}}
	sc.Loader = load.New(load.Config{Dir: cfg.Dir, Tags: cfg.Tags, Env: cfg.Env, AllTags: allTags, OutputNames: cfg.OutputNames, Generated: cfg.Generated,
		Report: func(d diag.Diagnostic) { sc.problems = append(sc.problems, d) }, Share: share})
	return sc
}

// load loads directories and patterns, and notes what the excluded files in them declare.
func (sc *scanner) load(ctx context.Context, dirs, patterns []string) ([]*unit, error) {
	loaded, err := sc.Load(ctx, dirs, patterns)
	if err != nil {
		return nil, err
	}
	var roots []*unit
	for _, l := range loaded {
		u := &unit{Unit: l}
		sc.Guard(l, func() {
			for _, e := range l.Excluded {
				sc.exclude(u, e.Name, e.Content)
			}
			roots = append(roots, u)
			sc.roots[l.Pkg.PkgPath] = u
		})
	}
	return roots, nil
}

// scan goes through the phases.
func (sc *scanner) scan(ctx context.Context) (*Result, error) {
	found, err := find(sc.config)
	if err != nil {
		return nil, err
	}
	roots, err := sc.load(ctx, found.dirs, found.rest)
	if err != nil {
		return nil, err
	}
	for _, u := range roots { // those that only the go command could find are still to be searched
		if _, err := found.searchDir(sc.config, u.Pkg.Dir); err != nil {
			return nil, err
		}
	}
	slices.Sort(found.outputs)
	res := &Result{Outputs: found.outputs, Skipped: found.skipped, sources: sc.Sources,
		scanner: sc, found: found}
	for _, u := range roots {
		if u.Broken {
			continue // its files are not what they are meant to be, and a syntax error brings about many others
		}
		if sc.Guard(u.Unit, func() { sc.annotate(u) }); len(u.types) > 0 {
			sc.annotated = append(sc.annotated, u)
		}
	}
	parts := sc.analyzeAll()
	others, err := sc.loadOthers(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		parts = append(parts, o.analyzeAll()...)
		sc.absorb(o)
	}
	var annotated []*unit
	annotated, res.Packages = sc.mergeParts(parts)
	sc.checkNames(annotated)
	sc.checkPayloads()
	res.Clients = sc.clients(annotated, res.Packages)
	res.Inputs = sc.inputs(found, res.Clients)
	res.Skipped, res.Kept = append(res.Skipped, sc.skipped...), sc.kept
	res.Diagnostics = sc.problems
	res.Diagnostics.Sort()
	res.Warnings = sc.warnings
	res.Warnings.Sort()
	slices.SortFunc(res.Packages, func(a, b Package) int { return strings.Compare(a.IR.Path, b.IR.Path) })
	slices.SortFunc(res.Skipped, func(a, b Skipped) int { return strings.Compare(a.File, b.File) })
	return res, nil
}
