package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"

	"github.com/afgen/afgen/gen/diag"
)

// A loader is everything one scan knows.
type loader struct {
	config   Config
	fset     *token.FileSet
	units    map[string]*unit // by import path: all that were listed
	sources  map[string][]byte
	problems diag.List
	warnings diag.List
	warned   map[token.Pos]bool // by warnings
	skipped  []Skipped
	modules  []moduleDir                // see directory
	leadsNot map[string]map[string]bool // see importWay
	links    links                      // see inside

	annotated   []*unit
	excluded    []excluded
	kept        []Kept
	constraints map[string]constraint.Expr // of files
	setsTags    bool                       // config.Tags are all tags, even if there are none: $GOFLAGS may have others
}

// A unit is one package: listed always, parsed and checked only when something needs it.
type unit struct {
	pkg    *packages.Package
	main   bool // of the main module (or the workspace): its mistakes are the user's
	parsed bool
	at     token.Pos // the declaration being worked on
	failed bool      // a bug of afgen has ended the work on it
	broken bool      // a file is no Go, or of another package: what follows from that is not worth saying
	files  []*file
	names  map[string]*decl           // declared at package level
	funcs  []*ast.FuncDecl            // with a receiver
	method map[string][]*ast.FuncDecl // those by the name of the receiver's type

	// Of any file in the directory: the names declared at package level, and those imported by.
	taken, importNames map[string]token.Position

	types  []*annotated // by name
	hidden []hidden     // methods in files that are excluded

	need    map[string]level
	ranges  []ast.Node      // what was needed: mistakes inside are reported
	imports map[string]bool // import paths that something needed mentions

	state   checkState
	checked *types.Package
	defs    map[*ast.Ident]types.Object
	errs    []types.Error
}

// A file is one parsed file of a unit.
type file struct {
	name    string
	ast     *ast.File
	imports map[string]string // the name in this file → import path
	dots    []string          // import paths of dot imports
}

// A decl is the declaration of one package-level name.
type decl struct {
	file *file
	gen  *ast.GenDecl // nil for a func
	spec ast.Spec     // nil for a func
	fn   *ast.FuncDecl
}

// load lists the annotated directories and all they import, and parses the former.
func (w *loader) load(ctx context.Context, f *found) ([]*unit, error) {
	patterns := slices.Clone(f.rest)
	for _, dir := range f.dirs {
		patterns = append(patterns, "."+string(filepath.Separator)+relative(w.config.Dir, dir))
	}
	if len(patterns) == 0 {
		return nil, nil
	}
	pkgs, err := w.list(ctx, packages.NeedName|packages.NeedFiles|packages.NeedImports|packages.NeedDeps|packages.NeedModule, patterns)
	if err != nil {
		return nil, err
	}
	packages.Visit(pkgs, nil, func(p *packages.Package) {
		u := &unit{pkg: p, main: p.Module != nil && p.Module.Main}
		w.units[p.PkgPath] = u
		if u.main && len(p.Errors) > 0 {
			w.fixPackageName(u)
		}
	})
	var roots []*unit
	var errs []error
	for _, p := range pkgs {
		if err := w.admit(p); err != nil {
			errs = append(errs, err)
			continue
		}
		u := w.units[p.PkgPath]
		if u.pkg.Dir = dirOf(p); u.pkg.Dir == "" {
			continue
		}
		w.guard(u, func() {
			w.parse(u, parser.ParseComments|parser.SkipObjectResolution|parser.AllErrors)
			w.survey(u)
			roots = append(roots, u)
		})
	}
	return roots, errors.Join(errs...)
}

// list asks the go command for packages.
func (w *loader) list(ctx context.Context, mode packages.LoadMode, patterns []string) ([]*packages.Package, error) {
	cfg := &packages.Config{Context: ctx, Mode: mode, Dir: w.config.Dir, Env: w.config.Env, Fset: w.fset}
	if w.config.Tags != "" || w.setsTags {
		cfg.BuildFlags = []string{"-tags=" + w.config.Tags}
	}
	pkgs, err := packages.Load(cfg, patterns...)
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", goError(err))
	}
	return pkgs, nil
}

// fixPackageName calls a package what its own files call it: the go command may have taken the name from stale output of afgen.
func (w *loader) fixPackageName(u *unit) {
	for _, name := range u.pkg.GoFiles {
		src, err := os.ReadFile(name)
		if err != nil || w.config.Generated(filepath.Base(name), src) {
			continue
		}
		if tree, err := parser.ParseFile(token.NewFileSet(), name, src, parser.PackageClauseOnly); err == nil {
			u.pkg.Name = tree.Name.Name
			return
		}
	}
}

// relative is dir as seen from base, or dir itself where that can't be said.
func relative(base, dir string) string {
	if rel, err := filepath.Rel(base, dir); err == nil {
		return rel
	}
	return dir
}

// admit says why a package that was asked for can't be scanned at all.
func (w *loader) admit(p *packages.Package) error {
	if len(p.GoFiles) > 0 || len(p.Errors) == 0 {
		return nil
	}
	var errs []error
	for _, e := range p.Errors {
		switch {
		case strings.Contains(e.Msg, "build constraints exclude all Go files"), e.Kind == packages.ParseError:
			// survey names the files left out, and parses those that are broken.
		case isDirPattern(p.PkgPath): // a pattern, which the go command has named
			errs = append(errs, errors.New(e.Msg))
		default:
			errs = append(errs, fmt.Errorf("%s: %s", p.PkgPath, e.Msg))
		}
	}
	return errors.Join(errs...)
}

// dirOf is the directory a package's files are in.
func dirOf(p *packages.Package) string {
	if p.Dir != "" {
		return p.Dir
	}
	for _, f := range slices.Concat(p.GoFiles, p.IgnoredFiles) {
		return filepath.Dir(f)
	}
	return ""
}

// parse reads the files of a unit, once, and indexes what they declare. afgen's own output is left out.
func (w *loader) parse(u *unit, mode parser.Mode) {
	if u.parsed {
		return
	}
	u.parsed = true
	u.names, u.method = map[string]*decl{}, map[string][]*ast.FuncDecl{}
	u.need, u.imports = map[string]level{}, map[string]bool{}
	for _, name := range u.pkg.GoFiles {
		src, err := os.ReadFile(name)
		if err != nil {
			w.report(u, token.Position{Filename: name, Line: 1, Column: 1}, 1, diag.NotLoaded, err.Error(), "")
			continue
		}
		if w.config.Generated(filepath.Base(name), src) {
			continue
		}
		tree, err := parser.ParseFile(w.fset, name, src, mode)
		if u.main {
			w.sources[name] = src
			u.broken = w.reportSyntax(u, err) || u.broken
		}
		if tree != nil {
			u.index(&file{name: name, ast: tree})
		}
	}
	for _, d := range u.funcs {
		if base := u.receiver(d); base != "" {
			u.method[base] = append(u.method[base], d)
		}
	}
}

// reportSyntax reports the first syntax errors of a file, if there are any; the rest tends to follow from them.
func (w *loader) reportSyntax(u *unit, err error) bool {
	var list scanner.ErrorList
	if !errors.As(err, &list) {
		return false
	}
	const enough = 3
	list.RemoveMultiples()
	for _, e := range list[:min(len(list), enough)] {
		hint := ""
		if conflict.Match(line(w.sources[e.Pos.Filename], e.Pos.Line)) {
			hint = "a merge has left a conflict here: resolve it; what afgen writes needs no resolving"
		}
		w.report(u, e.Pos, 1, diag.SyntaxError, e.Msg, hint)
	}
	return true
}

var conflict = regexp.MustCompile(`^(<<<<<<< |=======\r?$|>>>>>>> )`)

// line is the nth line of a file, from 1.
func line(src []byte, n int) []byte {
	for l := range bytes.Lines(src) {
		if n--; n == 0 {
			return bytes.TrimSuffix(l, []byte("\n"))
		}
	}
	return nil
}

// goError is an error of go list as the go command says it, without what the library puts before.
func goError(err error) error {
	if m := driverError.FindStringSubmatchIndex(err.Error()); m != nil {
		return errors.New(strings.TrimPrefix(strings.TrimSpace(err.Error()[m[1]:]), "go: "))
	}
	return err
}

var driverError = regexp.MustCompile(`^err: exit status \d+: stderr: `)

// index notes what a file declares at package level and what it calls its imports.
func (u *unit) index(f *file) {
	u.files = append(u.files, f)
	f.imports = map[string]string{}
	for _, spec := range f.ast.Imports {
		p := u.resolve(spec)
		switch name := u.importName(spec, p); name {
		case "_":
		case ".":
			f.dots = append(f.dots, p)
		default:
			f.imports[name] = p
		}
	}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			for _, s := range d.Specs {
				for _, id := range declared(s) {
					u.names[id.Name] = &decl{file: f, gen: d, spec: s}
				}
			}
		case *ast.FuncDecl:
			if d.Recv == nil {
				u.names[d.Name.Name] = &decl{file: f, fn: d}
			} else {
				u.funcs = append(u.funcs, d)
			}
		}
	}
}

// declared returns the identifiers that a spec declares at package level.
func declared(s ast.Spec) []*ast.Ident {
	switch s := s.(type) {
	case *ast.TypeSpec:
		return []*ast.Ident{s.Name}
	case *ast.ValueSpec:
		return s.Names
	}
	return nil
}

// receiver is the name of the type a method is declared on.
func (u *unit) receiver(d *ast.FuncDecl) string {
	path := u.receiverPath(d)
	return path[len(path)-1]
}

// receiverPath is what leads from the name in a method's receiver to the type it is declared on: that type alone, but
// for aliases.
func (u *unit) receiverPath(d *ast.FuncDecl) []string {
	if len(d.Recv.List) != 1 {
		return []string{""}
	}
	path := []string{baseName(d.Recv.List[0].Type)}
	for range u.names { // aliases of each other have no end
		decl := u.names[path[len(path)-1]]
		if decl == nil {
			break
		}
		spec, ok := decl.spec.(*ast.TypeSpec)
		if !ok || !spec.Assign.IsValid() {
			break
		}
		path = append(path, baseName(spec.Type))
	}
	return path
}

// baseName is the name in the type of a receiver: of T, *T, T[P] or *T[P].
func baseName(t ast.Expr) string {
	t = ast.Unparen(t)
	if s, ok := t.(*ast.StarExpr); ok {
		t = ast.Unparen(s.X)
	}
	switch x := t.(type) {
	case *ast.IndexExpr:
		t = x.X
	case *ast.IndexListExpr:
		t = x.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// resolve is the path of the package that an import means: vendoring makes it differ from what is written.
func (u *unit) resolve(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return ""
	}
	if dep := u.pkg.Imports[p]; dep != nil {
		return dep.PkgPath
	}
	return p
}

// importName is what a file calls an import: its alias, or the package's real name as listed.
func (u *unit) importName(spec *ast.ImportSpec, resolved string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	for _, dep := range u.pkg.Imports {
		if dep.PkgPath == resolved && dep.Name != "" {
			return dep.Name
		}
	}
	return path.Base(resolved)
}

// report adds a diagnostic at a position.
func (w *loader) report(u *unit, at token.Position, width int, code diag.Code, message, hint string) {
	w.problems = append(w.problems, diag.Diagnostic{
		Code:    code,
		Pos:     diag.Pos{File: at.Filename, Line: at.Line, Column: max(at.Column, 1)},
		Width:   max(width, 1),
		Message: message,
		Hint:    hint,
	})
}

// reportAt adds a diagnostic at an identifier.
func (w *loader) reportAt(u *unit, id *ast.Ident, code diag.Code, message, hint string) {
	w.report(u, w.fset.PositionFor(id.Pos(), false), len(id.Name), code, message, hint)
}
