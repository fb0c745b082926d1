// Package scan finds annotated packages and converts them to the intermediate representation of package ir. It
// type-checks only the declarations that annotated signatures need.
//
// # Phases
//
// [Scan] runs these phases. Each is in the file with its name, or in the package given:
//
//   - find: expand patterns to directories, and select those with annotations by searching their files for af:.
//   - load (package load): list these packages and their imports with one call of packages.Load, without types. Survey
//     the other files of their directories for names that are in use and for errors.
//   - annotate: match each directive with its declaration.
//   - need and check (package load): follow the names in annotated signatures to their declarations. Type-check each
//     package, reduced to the declarations that are needed. Packages that no signature mentions are not parsed.
//   - analyze: convert the checked signatures to an [ir.Package]. Types whose values don't arrive as sent are refused.
//     The reasons and their checks are in rules. encoding and members apply the rules of encoding/json.
//   - elsewhere: repeat these phases for annotated files that build constraints exclude, on a system that includes them
//     (package buildtag).
//   - merge: join the parts of each package from all systems, and set the constraints of services and workers.
//   - client: find and check the packages for client halves.
//
// The cost depends on the declarations that signatures mention, not on what the module imports. Code need not compile:
// it may use declarations that are not generated yet. Errors in annotated signatures are reported. Files that afgen
// generated are not read.
//
// All problems of the code are diagnostics. [Scan] returns an error only if packages can't be loaded.
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

// A Config configures a scan.
type Config struct {
	Dir      string   // the directory that patterns are relative to
	Patterns []string // package patterns of the go command; none means "."
	Tags     string   // build tags, as for go build -tags
	Env      []string // environment of the go command; nil means that of the process
	// OutputNames are the fixed names of generated files. Generated reports whether a file is generated.
	OutputNames []string
	Generated   func(name string, content []byte) bool
	// ConstrainedFile returns the name of the generated file for a build constraint. It may be nil.
	ConstrainedFile func(constraint string) string
	// ClientFile returns the name of the generated file for the client half of a service or worker with that name.
	ClientFile func(name string) string
}

// patterns returns a copy of the patterns, or the default.
func (c Config) patterns() []string {
	if len(c.Patterns) == 0 {
		return []string{"."}
	}
	return slices.Clone(c.Patterns)
}

// A Result is the result of a scan.
type Result struct {
	Packages []Package
	// Clients are the packages for client halves of Packages.
	Clients []Client
	// Outputs are the existing generated files in all directories that the patterns name.
	Outputs []string
	// Skipped are the annotated files that are not scanned. Kept are those of them whose generated output is kept.
	Skipped []Skipped
	Kept    []Kept
	// Diagnostics are the problems, sorted. Packages with problems may be incomplete.
	Diagnostics diag.List
	// Warnings are sorted.
	Warnings diag.List
	// Inputs are the files that the result depends on.
	Inputs  Inputs
	sources map[string][]byte
	scanner *scanner
	found   *found
}

// A Package is an annotated package.
type Package struct {
	Dir string
	IR  *ir.Package
	Pos diag.Pos // of the first annotation
	// Places has the positions of annotated types, by name, and of their methods, as Type.Method.
	Places map[string]diag.Pos
}

// A Client is a package for client halves. Its directory need not exist.
type Client struct {
	Dir string
	IR  ir.Client
}

// A Skipped is an annotated file that was not scanned.
type Skipped struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

// Source returns the content of a file at the time of the scan and reports whether it was read.
func (r *Result) Source(file string) ([]byte, bool) {
	src, ok := r.sources[file]
	return src, ok
}

// Dir returns the directory of an import path, which need not exist. It reports whether that is in a module that afgen
// may write to.
func (r *Result) Dir(importPath string) (dir string, ok bool) {
	dir, why := r.scanner.DirOfPackage(importPath)
	return dir, why == ""
}

// Searched reports whether the patterns name a directory.
func (r *Result) Searched(dir string) bool {
	_, ok := r.found.searched[dir]
	return ok
}

// Keeps reports whether a directory has annotated files that can't be analyzed. Generated files in it may belong to
// those.
func (r *Result) Keeps(dir string) bool {
	return slices.ContainsFunc(r.Kept, func(k Kept) bool { return k.Dir == dir })
}

// Matches reports whether the patterns name a directory, which need not exist, or the import path of its package.
func (r *Result) Matches(dir, importPath string) bool {
	cfg := r.scanner.config
	return slices.ContainsFunc(cfg.patterns(), func(p string) bool { return pattern.Matches(cfg.Dir, p, dir, importPath) })
}

// Scan scans the packages that the patterns name. It returns an error if they can't be loaded. Problems of their code
// are in the Result.
func Scan(ctx context.Context, cfg Config) (*Result, error) {
	return newScanner(cfg, nil, false).scan(ctx)
}

// A scanner runs one scan.
type scanner struct {
	*load.Loader
	config   Config
	links    load.Links
	problems diag.List
	warnings diag.List
	warned   map[token.Pos]bool // positions of warnings
	skipped  []Skipped
	leadsNot map[string]map[string]bool // see importWay

	roots       map[string]*unit // the requested packages, by import path
	annotated   []*unit
	excluded    []excluded
	kept        []Kept
	constraints map[string]constraint.Expr // by file
}

// A unit is a requested package with its annotations.
type unit struct {
	*load.Unit
	types  []*annotated // by name
	hidden []hidden     // methods in excluded files
}

// newScanner returns a scanner. It shares files and positions with share, which may be nil. See load.Config for
// allTags.
func newScanner(cfg Config, share *load.Loader, allTags bool) *scanner {
	sc := &scanner{
		config: cfg, leadsNot: map[string]map[string]bool{}, links: load.Links{}, warned: map[token.Pos]bool{},
		roots: map[string]*unit{}, constraints: map[string]constraint.Expr{},
	}
	sc.Loader = load.New(load.Config{
		Dir: cfg.Dir, Tags: cfg.Tags, Env: cfg.Env, AllTags: allTags,
		OutputNames: cfg.OutputNames, Generated: cfg.Generated,
		Report: func(d diag.Diagnostic) { sc.problems = append(sc.problems, d) }, Share: share,
	})
	return sc
}

// load loads directories and patterns, and records the declarations of excluded files.
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

// scan runs the phases.
func (sc *scanner) scan(ctx context.Context) (*Result, error) {
	found, err := find(sc.config)
	if err != nil {
		return nil, err
	}
	roots, err := sc.load(ctx, found.dirs, found.rest)
	if err != nil {
		return nil, err
	}
	for _, u := range roots { // search directories that only the go command could find
		if _, err := found.searchDir(sc.config, u.Pkg.Dir); err != nil {
			return nil, err
		}
	}
	slices.Sort(found.outputs)
	res := &Result{Outputs: found.outputs, Skipped: found.skipped, sources: sc.Sources,
		scanner: sc, found: found}
	for _, u := range roots {
		if u.Broken {
			continue // a syntax error would cause many other problems
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
