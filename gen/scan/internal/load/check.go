package load

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/internal/suggest"
)

// A checkState detects import cycles.
type checkState int

const (
	unchecked checkState = iota
	checking
	done
)

// depMode returns the parser mode for a package that was not requested.
func depMode(u *Unit) parser.Mode {
	if u.Main {
		return parser.SkipObjectResolution | parser.AllErrors
	}
	return parser.SkipObjectResolution
}

// Check type-checks the declarations of a package that are needed, and those of the packages they mention. It reports
// errors in them and sets Defs.
func (l *Loader) Check(u *Unit) *types.Package {
	if u.state != unchecked {
		return u.checked
	}
	u.state = checking
	u.Defs = map[*ast.Ident]types.Object{}
	conf := types.Config{
		IgnoreFuncBodies: true,
		FakeImportC:      true,
		Importer:         importer{l, u},
		Sizes:            types.SizesFor("gc", l.goarch()),
		Error: func(err error) {
			if e, ok := errors.AsType[types.Error](err); ok {
				u.errs = append(u.errs, e)
			}
		},
	}
	if m := u.Pkg.Module; m != nil && m.GoVersion != "" {
		conf.GoVersion = "go" + m.GoVersion
	}
	var files []*ast.File
	for _, f := range u.Files {
		files = append(files, l.prune(u, f))
	}
	// conf.Error has received the error.
	u.checked, _ = conf.Check(u.Pkg.PkgPath, l.Fset, files, &types.Info{Defs: u.Defs})
	u.state = done
	if u.Main {
		l.reportTypeErrors(u)
	}
	return u.checked
}

// goarch returns the target architecture. It only affects array lengths.
func (l *Loader) goarch() string { return cmp.Or(l.getenv("GOARCH"), runtime.GOARCH) }

// An importer returns the packages that the needed declarations of a unit mention. prune removes all other imports.
type importer struct {
	l *Loader
	u *Unit
}

func (i importer) Import(path string) (*types.Package, error) {
	if path == "unsafe" {
		return types.Unsafe, nil
	}
	dep := i.u.Pkg.Imports[path]
	if dep == nil {
		return nil, fmt.Errorf("package %s is not listed", path)
	}
	u := i.l.units[dep.PkgPath]
	i.l.parse(u, depMode(u))
	if len(u.Files) == 0 {
		if len(u.Pkg.Errors) > 0 {
			return nil, errors.New(u.Pkg.Errors[0].Msg)
		}
		return nil, fmt.Errorf("package %s has no Go files", path)
	}
	if p := i.l.Check(u); p != nil {
		return p, nil
	}
	return nil, errors.New("import cycle")
}

// prune returns a file with only the declarations that are needed.
func (l *Loader) prune(u *Unit, f *File) *ast.File {
	pruned := *f.AST
	pruned.Decls = nil
	for _, d := range f.AST.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil && u.keepMethod(d) {
				pruned.Decls = append(pruned.Decls, d)
			}
		case *ast.GenDecl:
			if d = u.pruneGen(d); d != nil {
				pruned.Decls = append(pruned.Decls, d)
			}
		}
	}
	return &pruned
}

// keepMethod reports whether a method is needed: as a marshaler of a needed type, or because of [Loader.Keep].
func (u *Unit) keepMethod(d *ast.FuncDecl) bool {
	switch d.Name.Name {
	case "MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText":
		return u.need[u.Receiver(d)] > 0
	}
	return u.kept[d]
}

// pruneGen returns a declaration with only the specs that are needed, or nil.
func (u *Unit) pruneGen(d *ast.GenDecl) *ast.GenDecl {
	pruned := *d
	pruned.Specs = nil
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.ImportSpec:
			if u.imports[u.resolve(s)] {
				pruned.Specs = append(pruned.Specs, s)
			}
		case *ast.TypeSpec:
			switch u.need[s.Name.Name] {
			case whole:
				pruned.Specs = append(pruned.Specs, s)
			case nameOnly:
				hollow := *s
				hollow.Type = &ast.StructType{Struct: s.Type.Pos(), Fields: &ast.FieldList{}}
				pruned.Specs = append(pruned.Specs, &hollow)
			}
		case *ast.ValueSpec:
			if slices.ContainsFunc(s.Names, func(id *ast.Ident) bool { return u.need[id.Name] == whole }) {
				if d.Tok == token.CONST {
					return d
				}
				pruned.Specs = append(pruned.Specs, s)
			}
		}
	}
	if len(pruned.Specs) == 0 {
		return nil
	}
	return &pruned
}

// reportTypeErrors reports errors in needed declarations. The compiler reports others. If a file can't be parsed, it
// reports nothing, because most errors would result from that.
func (l *Loader) reportTypeErrors(u *Unit) {
	for path := range u.imports {
		if dep := l.units[path]; dep != nil && dep.Broken {
			return
		}
	}
	if u.Broken {
		return
	}
	for _, e := range u.errs {
		if spec := u.importAt(e.Pos); spec != nil {
			if u.imports[u.resolve(spec)] {
				message, hint := importFault(spec, e.Msg)
				l.Report(l.Fset.PositionFor(spec.Path.Pos(), false), len(spec.Path.Value), diag.NotLoaded, message, hint)
			}
			continue
		}
		inside := slices.ContainsFunc(u.ranges, func(n ast.Node) bool { return n.Pos() <= e.Pos && e.Pos < n.End() })
		if inside && !e.Soft {
			at := l.Fset.PositionFor(e.Pos, false)
			// The checker prints absolute paths.
			message := strings.ReplaceAll(e.Msg, l.config.Dir+string(filepath.Separator), "")
			l.Report(at, l.WordAt(at), diag.TypeError, message, u.suggest(e.Msg))
		}
	}
}

// importAt returns the import at a position, or nil.
func (u *Unit) importAt(pos token.Pos) *ast.ImportSpec {
	for _, f := range u.Files {
		for _, spec := range f.AST.Imports {
			if spec.Pos() <= pos && pos < spec.End() {
				return spec
			}
		}
	}
	return nil
}

// importFault returns why a package can't be imported, without parts that depend on the machine.
func importFault(spec *ast.ImportSpec, msg string) (message, hint string) {
	_, why, _ := strings.Cut(msg, " (")
	why, fix, ok := strings.Cut(strings.TrimSuffix(why, ")"), "; to add it:")
	if ok {
		hint = "run " + strings.TrimSpace(fix)
	}
	why, _, _ = strings.Cut(why, " (") // the directories searched
	if path := strings.Trim(spec.Path.Value, "\"`"); !strings.Contains(why, path) {
		why = fmt.Sprintf("package %s can't be loaded: %s", path, why)
	}
	return why, hint
}

// WordAt returns the length in bytes of the identifier at a position.
func (l *Loader) WordAt(at token.Position) int {
	src := l.Sources[at.Filename]
	n := 0
	for _, r := range string(src[min(at.Offset, len(src)):]) {
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		n += utf8.RuneLen(r)
	}
	return n
}

// suggest returns a hint for an undeclared name, or "".
func (u *Unit) suggest(msg string) string {
	name, ok := strings.CutPrefix(msg, "undefined: ")
	if !ok || strings.Contains(name, ".") {
		return ""
	}
	near, ok := suggest.Nearest(name, slices.Sorted(maps.Keys(u.typeNames())))
	if !ok {
		return ""
	}
	return "did you mean " + near + "?"
}

// typeNames returns the predeclared types, those of the package, and the names of its imports.
func (u *Unit) typeNames() map[string]bool {
	names := map[string]bool{}
	for _, name := range types.Universe.Names() {
		if _, ok := types.Universe.Lookup(name).(*types.TypeName); ok {
			names[name] = true
		}
	}
	for name, d := range u.Names {
		if _, ok := d.Spec.(*ast.TypeSpec); ok {
			names[name] = true
		}
	}
	for _, f := range u.Files {
		for name := range f.Imports {
			names[name] = true
		}
	}
	return names
}
