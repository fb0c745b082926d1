package load

import (
	"bytes"
	"errors"
	"go/ast"
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

	"golang.org/x/tools/go/packages"

	"github.com/afgen/afgen/gen/diag"
)

// A Unit is one package: listed always, parsed and checked only when something needs it.
type Unit struct {
	Pkg    *packages.Package
	Main   bool // of the main module (or the workspace): its mistakes are the user's
	Broken bool // a file is not valid Go, or of another package: errors that follow from that are not reported
	Files  []*File
	// What the files declare at package level, by name, and the methods by the name of their receiver's type.
	Names   map[string]*Decl
	Methods map[string][]*ast.FuncDecl
	// Of any file in the directory, if Load was asked for the package: the names declared at package level, and those
	// imported by.
	Taken, ImportNames map[string]token.Position
	// Excluded are the files in the directory that build constraints exclude, tests aside, if Load was asked for it.
	Excluded []Excluded
	Defs     map[*ast.Ident]types.Object // as of types.Info, once the package is checked

	parsed bool
	at     token.Pos // the declaration being worked on
	failed bool      // a bug of afgen has ended the work on it
	funcs  []*ast.FuncDecl

	need    map[string]level
	kept    map[*ast.FuncDecl]bool // methods to be checked
	ranges  []ast.Node             // what was needed: mistakes inside are reported
	imports map[string]bool        // import paths that something needed mentions

	state   checkState
	checked *types.Package
	errs    []types.Error
}

// NewUnit returns a package of which only this is known.
func NewUnit(path, name, dir string) *Unit {
	return &Unit{Pkg: &packages.Package{PkgPath: path, Name: name, Dir: dir},
		Taken: map[string]token.Position{}, ImportNames: map[string]token.Position{}}
}

// A File is one parsed file of a unit.
type File struct {
	Name    string
	AST     *ast.File
	Imports map[string]string // the name in this file → import path
	dots    []string          // import paths of dot imports
}

// A Decl is the declaration of one package-level name.
type Decl struct {
	File *File
	Gen  *ast.GenDecl // nil for a func
	Spec ast.Spec     // nil for a func
}

// An Excluded is a file that build constraints exclude.
type Excluded struct {
	Name    string
	Content []byte
}

// WorkOn sets the declaration that a bug of afgen is reported at.
func (u *Unit) WorkOn(pos token.Pos) { u.at = pos }

// parse reads the files of a unit, once, and indexes what they declare. afgen's own output is left out.
func (l *Loader) parse(u *Unit, mode parser.Mode) {
	if u.parsed {
		return
	}
	u.parsed = true
	u.Names, u.Methods = map[string]*Decl{}, map[string][]*ast.FuncDecl{}
	u.need, u.kept, u.imports = map[string]level{}, map[*ast.FuncDecl]bool{}, map[string]bool{}
	for _, name := range u.Pkg.GoFiles {
		src, err := os.ReadFile(name)
		if err != nil {
			l.Report(token.Position{Filename: name, Line: 1, Column: 1}, 1, diag.NotLoaded, err.Error(), "")
			continue
		}
		if l.config.Generated(filepath.Base(name), src) {
			continue
		}
		tree, err := parser.ParseFile(l.Fset, name, src, mode)
		if u.Main {
			l.Sources[name] = src
			u.Broken = l.reportSyntax(err) || u.Broken
		}
		if tree != nil {
			u.index(&File{Name: name, AST: tree})
		}
	}
	for _, d := range u.funcs {
		if base := u.Receiver(d); base != "" {
			u.Methods[base] = append(u.Methods[base], d)
		}
	}
}

// reportSyntax reports the first syntax errors of a file, if there are any; the rest tends to follow from them.
func (l *Loader) reportSyntax(err error) bool {
	var list scanner.ErrorList
	if !errors.As(err, &list) {
		return false
	}
	const enough = 3
	list.RemoveMultiples()
	for _, e := range list[:min(len(list), enough)] {
		hint := ""
		if conflict.Match(line(l.Sources[e.Pos.Filename], e.Pos.Line)) {
			hint = "a merge has left a conflict here: resolve it; what afgen writes needs no resolving"
		}
		l.Report(e.Pos, 1, diag.SyntaxError, e.Msg, hint)
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

// index notes what a file declares at package level and what it calls its imports.
func (u *Unit) index(f *File) {
	u.Files = append(u.Files, f)
	f.Imports = map[string]string{}
	for _, spec := range f.AST.Imports {
		p := u.resolve(spec)
		switch name := u.importName(spec, p); name {
		case "_":
		case ".":
			f.dots = append(f.dots, p)
		default:
			f.Imports[name] = p
		}
	}
	for _, d := range f.AST.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			for _, s := range d.Specs {
				for _, id := range Declared(s) {
					u.Names[id.Name] = &Decl{File: f, Gen: d, Spec: s}
				}
			}
		case *ast.FuncDecl:
			if d.Recv == nil {
				u.Names[d.Name.Name] = &Decl{File: f}
			} else {
				u.funcs = append(u.funcs, d)
			}
		}
	}
}

// Declared returns the identifiers that a spec declares at package level.
func Declared(s ast.Spec) []*ast.Ident {
	switch s := s.(type) {
	case *ast.TypeSpec:
		return []*ast.Ident{s.Name}
	case *ast.ValueSpec:
		return s.Names
	}
	return nil
}

// Receiver returns the name of the type that a method is declared on.
func (u *Unit) Receiver(d *ast.FuncDecl) string {
	path := u.receiverPath(d)
	return path[len(path)-1]
}

// receiverPath is what leads from the name in a method's receiver to the type it is declared on: that type alone, but
// for aliases.
func (u *Unit) receiverPath(d *ast.FuncDecl) []string {
	if len(d.Recv.List) != 1 {
		return []string{""}
	}
	path := []string{BaseName(d.Recv.List[0].Type)}
	for range u.Names { // aliases of each other have no end
		decl := u.Names[path[len(path)-1]]
		if decl == nil {
			break
		}
		spec, ok := decl.Spec.(*ast.TypeSpec)
		if !ok || !spec.Assign.IsValid() {
			break
		}
		path = append(path, BaseName(spec.Type))
	}
	return path
}

// BaseName returns the name in the type of a receiver: of T, *T, T[P] or *T[P].
func BaseName(t ast.Expr) string {
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
func (u *Unit) resolve(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return ""
	}
	if dep := u.Pkg.Imports[p]; dep != nil {
		return dep.PkgPath
	}
	return p
}

// importName is what a file calls an import: its alias, or the package's real name as listed.
func (u *Unit) importName(spec *ast.ImportSpec, resolved string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	for _, dep := range u.Pkg.Imports {
		if dep.PkgPath == resolved && dep.Name != "" {
			return dep.Name
		}
	}
	return path.Base(resolved)
}

// FileAt returns the file of a unit that a declaration is in.
func (u *Unit) FileAt(pos token.Pos) *File {
	i := slices.IndexFunc(u.Files, func(f *File) bool { return f.AST.FileStart <= pos && pos < f.AST.FileEnd })
	return u.Files[i]
}
