// Package load reads the packages that a scan is about, as far as it needs them.
//
// A [Loader] lists packages and all that they import by one call of the go command, without asking for types ([Loader.Load]).
// It parses those that were asked for, and notes what the other files of their directories mean for them. The others are
// parsed when a declaration of theirs is needed: [Loader.NeedName] and [Loader.NeedMethod] follow each name to its
// declaration, through packages, until nothing new is mentioned. [Loader.Check] type-checks what is needed of a package and
// nothing else, without function bodies. So the cost follows what is needed, not what a module imports, and code that does
// not compile yet is read all the same.
//
// The loader also knows the modules of a run, where an import path would be among them, and which symbolic links lead out of
// them. It knows nothing of directives and of what is generated: its caller says which declarations it needs and why.
//
// What is wrong with the code goes to Config.Report; an error means that it could not be read at all. Afgen's own output,
// as Config.Generated knows it, is never read. A Loader must not be used by several goroutines at the same time.
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

// Config is how to load.
type Config struct {
	Dir  string   // where the go command runs
	Tags string   // build tags, as for go build -tags
	Env  []string // of the go command; nil is the process's
	// AllTags reports whether Tags are all tags, even if there are none: $GOFLAGS may have others.
	AllTags bool
	// OutputNames are what afgen calls its outputs; Generated reports whether a file is one.
	OutputNames []string
	Generated   func(name string, content []byte) bool
	// Report is called with what is wrong with the code.
	Report func(diag.Diagnostic)
	// Share is a Loader whose Fset and Sources this one uses, too; nil if it has its own.
	Share *Loader
}

// A Loader has listed packages, and has read and checked those among them that were needed.
type Loader struct {
	Fset    *token.FileSet
	Sources map[string][]byte // of the user's files that were read, by name

	config  Config
	units   map[string]*Unit // by import path: all that were listed
	modules []moduleDir      // see DirOfPackage
}

// New returns a Loader that has listed nothing yet.
func New(cfg Config) *Loader {
	l := &Loader{Fset: token.NewFileSet(), Sources: map[string][]byte{}, config: cfg, units: map[string]*Unit{}}
	if cfg.Share != nil {
		l.Fset, l.Sources = cfg.Share.Fset, cfg.Share.Sources
	}
	return l
}

// Unit returns the package of an import path, or nil if it was not listed.
func (l *Loader) Unit(path string) *Unit { return l.units[path] }

// Units returns the packages that were listed, in no order.
func (l *Loader) Units() iter.Seq[*Unit] { return maps.Values(l.units) }

// Adopt adds the packages that another Loader has listed and this one hasn't.
func (l *Loader) Adopt(other *Loader) {
	for path, u := range other.units {
		if l.units[path] == nil {
			l.units[path] = u
		}
	}
}

// Load lists the packages in some directories and those that some patterns name, and all that they import. It returns the
// former parsed, but for those of unknown directory.
func (l *Loader) Load(ctx context.Context, dirs, patterns []string) ([]*Unit, error) {
	patterns = slices.Clone(patterns)
	for _, dir := range dirs {
		patterns = append(patterns, "."+string(filepath.Separator)+pattern.Relative(l.config.Dir, dir))
	}
	if len(patterns) == 0 {
		return nil, nil
	}
	pkgs, err := l.list(ctx, packages.NeedName|packages.NeedFiles|packages.NeedImports|packages.NeedDeps|packages.NeedModule, patterns)
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

// Matched is what the go command reports about a package that a pattern names.
type Matched struct {
	Empty bool  // it has no Go files
	Err   error // why it can't be scanned at all
}

// Match lists the packages that patterns name, and nothing that they import.
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

// list asks the go command for packages.
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

// fixPackageName sets the name of a package to that in its own files: the go command may have taken it from stale output of
// afgen.
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

// admit returns why a package that was asked for can't be scanned at all, or nil.
func admit(p *packages.Package) error {
	if len(p.GoFiles) > 0 || len(p.Errors) == 0 {
		return nil
	}
	var errs []error
	for _, e := range p.Errors {
		switch {
		case strings.Contains(e.Msg, "build constraints exclude all Go files"), e.Kind == packages.ParseError:
			// survey names the files left out, and parses those that are broken.
		case pattern.IsDir(p.PkgPath): // a pattern, which the go command has named
			errs = append(errs, errors.New(e.Msg))
		default:
			errs = append(errs, fmt.Errorf("%s: %s", p.PkgPath, e.Msg))
		}
	}
	return errors.Join(errs...)
}

// DirOf returns the directory that a package's files are in, or "" if it is unknown.
func DirOf(p *packages.Package) string {
	if p.Dir != "" {
		return p.Dir
	}
	for _, f := range slices.Concat(p.GoFiles, p.IgnoredFiles) {
		return filepath.Dir(f)
	}
	return ""
}

// goError returns an error of go list as the go command prints it, without the prefix that the library adds.
func goError(err error) error {
	if m := driverError.FindStringSubmatchIndex(err.Error()); m != nil {
		return errors.New(strings.TrimPrefix(strings.TrimSpace(err.Error()[m[1]:]), "go: "))
	}
	return err
}

var driverError = regexp.MustCompile(`^err: exit status \d+: stderr: `)

// Position returns a position in the file that it is in, whatever //line directives say.
func (l *Loader) Position(pos token.Pos) token.Position { return l.Fset.PositionFor(pos, false) }

// Pos returns a position as diagnostics have it.
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

// Guard does a part of the work on one package. If that panics, afgen is at fault: it reports so at the declaration that
// was being worked on, and the other packages are still looked at. The rest of the work on this one is not done.
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

// workedOn returns where the declaration is that is being worked on.
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
