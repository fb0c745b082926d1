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

// A Unit is a listed package. It is parsed and checked only if needed.
type Unit struct {
	Pkg    *packages.Package
	Main   bool // in the main module or the workspace: its problems are reported
	Broken bool // a file is not valid Go or in another package; resulting errors are not reported
	Files  []*File
	// Names has the package-level declarations of the files. Methods has the methods by the name of the receiver's type.
	Names   map[string]*Decl
	Methods map[string][]*ast.FuncDecl
	// Taken has the package-level names of all files in the directory of a requested package, ImportNames those of
	// imports.
	Taken, ImportNames map[string]token.Position
	// Excluded are the files, except tests, that build constraints exclude from a requested package.
	Excluded []Excluded
	Defs     map[*ast.Ident]types.Object // see types.Info; set when the package is checked

	parsed bool
	at     token.Pos // the current declaration
	failed bool      // a bug of afgen was reported
	funcs  []*ast.FuncDecl

	need    map[string]level
	kept    map[*ast.FuncDecl]bool // needed methods
	ranges  []ast.Node             // nodes inside which errors are reported
	imports map[string]bool        // import paths that needed declarations mention

	state   checkState
	checked *types.Package
	errs    []types.Error
}

// NewUnit returns a package that was not listed.
func NewUnit(path, name, dir string) *Unit {
	return &Unit{Pkg: &packages.Package{PkgPath: path, Name: name, Dir: dir},
		Taken: map[string]token.Position{}, ImportNames: map[string]token.Position{}}
}

// A File is one parsed file of a unit.
type File struct {
	Name    string
	AST     *ast.File
	Imports map[string]string // import paths by the name in this file
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

// WorkOn sets the current declaration, at which a bug of afgen is reported.
func (u *Unit) WorkOn(pos token.Pos) { u.at = pos }

// parse parses the files of a unit once, except generated ones, and indexes their declarations.
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

// reportSyntax reports the first syntax errors of a file, and whether there are any. Others tend to result from them.
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
			hint = "resolve the merge conflict; for generated files, run afgen instead"
		}
		l.Report(e.Pos, 1, diag.SyntaxError, e.Msg, hint)
	}
	return true
}

var conflict = regexp.MustCompile(`^(<<<<<<< |=======\r?$|>>>>>>> )`)

// line returns line n of a file, from 1.
func line(src []byte, n int) []byte {
	for l := range bytes.Lines(src) {
		if n--; n == 0 {
			return bytes.TrimSuffix(l, []byte("\n"))
		}
	}
	return nil
}

// index records the package-level declarations of a file and the names of its imports.
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

// receiverPath returns the names from that in a method's receiver to that of its type. There are several if the
// receiver is an alias.
func (u *Unit) receiverPath(d *ast.FuncDecl) []string {
	if len(d.Recv.List) != 1 {
		return []string{""}
	}
	path := []string{BaseName(d.Recv.List[0].Type)}
	for range u.Names { // ends at cyclic aliases
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

// BaseName returns T for the receiver types T, *T, T[P] and *T[P].
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

// resolve returns the actual import path of an import, which differs from the written one for vendored packages.
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

// importName returns the name of an import in a file: its alias, or the name of the package.
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

// FileAt returns the file of a unit that contains a position.
func (u *Unit) FileAt(pos token.Pos) *File {
	i := slices.IndexFunc(u.Files, func(f *File) bool { return f.AST.FileStart <= pos && pos < f.AST.FileEnd })
	return u.Files[i]
}
