// Package load loads packages and type-checks the declarations that are needed.
//
// [Loader.Load] lists packages and their imports with one call of the go command, without types. It parses the
// requested packages and surveys the other files of their directories. It parses other packages when one of their
// declarations is needed: [Loader.NeedName] and [Loader.NeedMethod] follow each name to its declaration, across
// packages. [Loader.Check] type-checks the needed declarations of a package, without function bodies. So the cost
// depends on the needed declarations, not on what a module imports, and code need not compile.
//
// The loader also knows the modules of a run, the directories of import paths in them, and symbolic links that lead out
// of them. It doesn't know directives: its caller decides which declarations are needed.
//
// Problems of the code are passed to Config.Report. Methods return errors only if packages can't be loaded. Files that
// afgen generated, according to Config.Generated, are not read. A Loader is not safe for concurrent use.
package load

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/scan/internal/pattern"
)

// A Config configures a Loader.
type Config struct {
	Dir  string   // working directory of the go command
	Tags string   // build tags, as for go build -tags
	Env  []string // environment of the go command; nil means that of the process
	// AllTags is set if Tags, even if "", replaces the tags in $GOFLAGS.
	AllTags bool
	// OutputNames are the fixed names of generated files. Generated reports whether a file is generated.
	OutputNames []string
	Generated   func(name string, content []byte) bool
	// Report is called for each problem of the code.
	Report func(diag.Diagnostic)
	// Share is a Loader with which this one shares Fset and Sources. It may be nil.
	Share *Loader
}

// A Loader lists, parses and type-checks packages. It is not safe for concurrent use.
type Loader struct {
	Fset    *token.FileSet
	Sources map[string][]byte // contents of the user's files that were read, by name

	config  Config
	units   map[string]*Unit // all listed packages, by import path
	modules []moduleDir      // see DirOfPackage
}

// New returns a Loader without packages.
func New(cfg Config) *Loader {
	l := &Loader{Fset: token.NewFileSet(), Sources: map[string][]byte{}, config: cfg, units: map[string]*Unit{}}
	if cfg.Share != nil {
		l.Fset, l.Sources = cfg.Share.Fset, cfg.Share.Sources
	}
	return l
}

// Unit returns the package with an import path, or nil if it was not listed.
func (l *Loader) Unit(path string) *Unit { return l.units[path] }

// Units returns the listed packages in no particular order.
func (l *Loader) Units() iter.Seq[*Unit] { return maps.Values(l.units) }

// Adopt adds packages that only another Loader has listed.
func (l *Loader) Adopt(other *Loader) {
	for path, u := range other.units {
		if l.units[path] == nil {
			l.units[path] = u
		}
	}
}

// Load lists the packages in directories and those that patterns name, and their imports. It parses and returns the
// requested packages, except those whose directory is unknown.
func (l *Loader) Load(ctx context.Context, dirs, patterns []string) ([]*Unit, error) {
	patterns = slices.Clone(patterns)
	for _, dir := range dirs {
		patterns = append(patterns, "."+string(filepath.Separator)+pattern.Relative(l.config.Dir, dir))
	}
	if len(patterns) == 0 {
		return nil, nil
	}
	const mode = packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedDeps | packages.NeedModule
	pkgs, err := l.list(ctx, mode, patterns)
	if err != nil {
		return nil, err
	}
	packages.Visit(pkgs, nil, func(p *packages.Package) {
		u := &Unit{Pkg: p, Main: p.Module != nil && p.Module.Main}
		l.units[p.PkgPath] = u
		if u.Main && len(p.Errors) > 0 {
			l.fixPackageName(u)
		}
	})
	var roots []*Unit
	var errs []error
	for _, p := range pkgs {
		if err := admit(p); err != nil {
			errs = append(errs, err)
			continue
		}
		u := l.units[p.PkgPath]
		if u.Pkg.Dir = DirOf(p); u.Pkg.Dir == "" {
			continue
		}
		l.Guard(u, func() {
			l.parse(u, parser.ParseComments|parser.SkipObjectResolution|parser.AllErrors)
			l.survey(u)
			roots = append(roots, u)
		})
	}
	return roots, errors.Join(errs...)
}

// A Matched describes a package that a pattern names.
type Matched struct {
	Empty bool  // it has no Go files
	Err   error // why it can't be scanned
}

// Match lists the packages that patterns name, without their imports.
func (l *Loader) Match(ctx context.Context, patterns []string) ([]Matched, error) {
	pkgs, err := l.list(ctx, packages.NeedName|packages.NeedFiles, patterns)
	if err != nil {
		return nil, err
	}
	var all []Matched
	for _, p := range pkgs {
		all = append(all, Matched{len(p.GoFiles) == 0, admit(p)})
	}
	return all, nil
}

// list runs the go command.
func (l *Loader) list(ctx context.Context, mode packages.LoadMode, patterns []string) ([]*packages.Package, error) {
	cfg := &packages.Config{Context: ctx, Mode: mode, Dir: l.config.Dir, Env: l.config.Env, Fset: l.Fset}
	if l.config.Tags != "" || l.config.AllTags {
		cfg.BuildFlags = []string{"-tags=" + l.config.Tags}
	}
	pkgs, err := packages.Load(cfg, patterns...)
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", goError(err))
	}
	return pkgs, nil
}

// fixPackageName sets the name of a package to that in its files, because the go command may have used an outdated
// generated file.
func (l *Loader) fixPackageName(u *Unit) {
	for _, name := range u.Pkg.GoFiles {
		src, err := os.ReadFile(name)
		if err != nil || l.config.Generated(filepath.Base(name), src) {
			continue
		}
		if tree, err := parser.ParseFile(token.NewFileSet(), name, src, parser.PackageClauseOnly); err == nil {
			u.Pkg.Name = tree.Name.Name
			return
		}
	}
}

// admit returns why a requested package can't be scanned, or nil.
func admit(p *packages.Package) error {
	if len(p.GoFiles) > 0 || len(p.Errors) == 0 {
		return nil
	}
	var errs []error
	for _, e := range p.Errors {
		switch {
		case strings.Contains(e.Msg, "build constraints exclude all Go files"), e.Kind == packages.ParseError:
			// survey handles excluded files and those with syntax errors.
		case pattern.IsDir(p.PkgPath): // a pattern, which the error contains
			errs = append(errs, errors.New(e.Msg))
		default:
			errs = append(errs, fmt.Errorf("%s: %s", p.PkgPath, e.Msg))
		}
	}
	return errors.Join(errs...)
}

// DirOf returns the directory of a package, or "" if it is unknown.
func DirOf(p *packages.Package) string {
	if p.Dir != "" {
		return p.Dir
	}
	for _, f := range slices.Concat(p.GoFiles, p.IgnoredFiles) {
		return filepath.Dir(f)
	}
	return ""
}

// goError returns an error of go list as the go command prints it, without the prefix of package packages.
func goError(err error) error {
	if m := driverError.FindStringSubmatchIndex(err.Error()); m != nil {
		return errors.New(strings.TrimPrefix(strings.TrimSpace(err.Error()[m[1]:]), "go: "))
	}
	return err
}

var driverError = regexp.MustCompile(`^err: exit status \d+: stderr: `)

// Position returns the position in the actual file, ignoring //line directives.
func (l *Loader) Position(pos token.Pos) token.Position { return l.Fset.PositionFor(pos, false) }

// Pos converts a position for a diagnostic.
func Pos(at token.Position) diag.Pos {
	return diag.Pos{File: at.Filename, Line: at.Line, Column: max(at.Column, 1)}
}

// Report reports a diagnostic at a position.
func (l *Loader) Report(at token.Position, width int, code diag.Code, message, hint string) {
	l.config.Report(diag.Diagnostic{
		Code:    code,
		Pos:     Pos(at),
		Width:   max(width, 1),
		Message: message,
		Hint:    hint,
	})
}

// ReportAt reports a diagnostic at an identifier.
func (l *Loader) ReportAt(id *ast.Ident, code diag.Code, message, hint string) {
	l.Report(l.Position(id.Pos()), len(id.Name), code, message, hint)
}

// Guard calls work, which processes a package. If work panics, Guard reports a bug of afgen at the current declaration,
// and doesn't call work for this package again. Other packages are not affected.
func (l *Loader) Guard(u *Unit, work func()) {
	if u.failed {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			u.failed = true
			l.config.Report(diag.Bug(l.workedOn(u), "package "+u.Pkg.PkgPath, p, debug.Stack()))
		}
	}()
	work()
}

// workedOn returns the position of the current declaration.
func (l *Loader) workedOn(u *Unit) diag.Pos {
	pos := u.at
	for i := 0; !pos.IsValid() && i < len(u.Files); i++ {
		pos = u.Files[i].AST.Package
	}
	if !pos.IsValid() {
		return diag.Pos{File: u.Pkg.Dir}
	}
	return Pos(l.Position(pos))
}
