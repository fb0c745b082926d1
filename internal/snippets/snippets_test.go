// Package snippets compiles the Go snippets of README.md and docs/*.md. It consists of tests. Package shop is the
// application that the snippets use.
package snippets

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"

	"github.com/afgen/afgen/internal/testkit"
)

const root = "../.."

// uncompiled lists pages whose snippets are mistakes on purpose. gen/diag checks them.
var uncompiled = []string{"diagnostics.md"}

// A snippet is a file, declarations or statements; "…" stands for what it leaves out. Names that it doesn't declare
// come from other snippets of its page, or from testdata/prelude: the file named after the page, or common.go. The
// comment <!-- not compiled --> above a snippet exempts it.
func TestSnippetsCompile(t *testing.T) {
	fset := token.NewFileSet()
	prelude := readPrelude(t, fset)
	var files []*ast.File
	imports := map[string]bool{}
	for _, page := range pages(t) {
		snippets := append(snippetsOf(t, page), cells(t, page)...)
		for _, s := range snippets {
			if source, file := s.declarations(fset); file != nil {
				prelude.declare(s.name(), []byte(source), file)
			}
		}
		for _, s := range snippets {
			if path.Dir(s.file) == "shop" {
				continue // compared by TestGettingStartedIsPackageShop
			}
			file, err := s.parse(fset, prelude)
			if err != nil {
				t.Error(err)
				continue
			}
			for _, i := range file.Imports {
				imports[unquote(i.Path.Value)] = true
			}
			files = append(files, file)
		}
	}
	if len(files) < 30 {
		t.Errorf("found only %d snippets", len(files))
	}
	importer := load(t, prelude, imports)
	for _, file := range files {
		config := types.Config{Importer: importer, Error: func(err error) {
			if e := err.(types.Error); !e.Soft { // soft: unused variables and imports
				t.Errorf("%s: %s", fset.Position(e.Pos), e.Msg)
			}
		}}
		_, _ = config.Check("p", fset, []*ast.File{file}, nil) // errors are reported by config.Error
	}
}

// The files of docs/getting-started.md are those of package shop, which are compiled and tested.
func TestGettingStartedIsPackageShop(t *testing.T) {
	compared := 0
	for _, s := range snippetsOf(t, filepath.Join(root, "docs", "getting-started.md")) {
		if path.Dir(s.file) != "shop" {
			continue
		}
		compared++
		want, err := os.ReadFile(filepath.FromSlash(s.file))
		if err != nil {
			t.Fatal(err)
		}
		if got := mapImports(s.text); got != string(want) {
			t.Errorf("docs/getting-started.md, %s:\n%s\nwant:\n%s", s.file, got, want)
		}
	}
	if compared != 4 {
		t.Errorf("compared %d files", compared)
	}
}

// pages returns the paths of the documents.
func pages(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(all) < 10 {
		t.Fatal(all, err)
	}
	all = slices.DeleteFunc(all, func(page string) bool { return slices.Contains(uncompiled, filepath.Base(page)) })
	return append(all, filepath.Join(root, "README.md"))
}

type snippet struct {
	page string // the document's path
	line int    // of the first line of code
	file string // the name above it, or ""
	text string
}

var (
	goBlock  = regexp.MustCompile("(?m)^( *)```go\n((?s:.*?))^ *```$")
	fileName = regexp.MustCompile("(?m)^`([\\w/]+\\.go)`:\n\n\\z")
)

func snippetsOf(t *testing.T, page string) []snippet {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var found []snippet
	for _, m := range goBlock.FindAllSubmatchIndex(text, -1) {
		before := text[:m[0]]
		if bytes.HasSuffix(before, []byte("<!-- not compiled -->\n")) {
			continue
		}
		s := snippet{page: page, line: bytes.Count(text[:m[4]], []byte("\n")) + 1}
		if name := fileName.FindSubmatch(before); name != nil {
			s.file = string(name[1])
		}
		indent := string(text[m[2]:m[3]])
		for line := range strings.Lines(string(text[m[4]:m[5]])) {
			s.text += strings.TrimPrefix(line, indent)
		}
		found = append(found, s)
	}
	return found
}

// name returns the page's name, without its extension.
func (s snippet) name() string { return strings.TrimSuffix(filepath.Base(s.page), ".md") }

var (
	isFile = regexp.MustCompile(`(?m)^package `)
	elided = regexp.MustCompile(`(?m)^(\s*)…$`)
)

// lineComment returns the comment by which errors have the positions of the document.
func (s snippet) lineComment() string { return fmt.Sprintf("//line %s:%d\n", s.page, s.line) }

// declarations returns the source and the file of a snippet that consists of declarations, or else nil.
func (s snippet) declarations(fset *token.FileSet) (string, *ast.File) {
	text := strings.ReplaceAll(s.text, "{ … }", `{ panic("") }`)
	if isFile.MatchString(text) {
		return "", nil
	}
	for _, instead := range []string{`panic("")`, ""} {
		source := s.lineComment() + "package p; " + elided.ReplaceAllString(text, "${1}"+instead)
		if file, err := parser.ParseFile(fset, "", source, 0); err == nil {
			return source, file
		}
	}
	return "", nil
}

// parse makes a file of a snippet, with the imports and declarations that it lacks.
func (s snippet) parse(fset *token.FileSet, prelude *prelude) (*ast.File, error) {
	if isFile.MatchString(s.text) {
		text := strings.ReplaceAll(s.text, "{ … }", `{ panic("") }`)
		return parser.ParseFile(fset, "", s.lineComment()+mapImports(text), 0)
	}
	source, file := s.declarations(fset)
	if file == nil {
		text := elided.ReplaceAllString(strings.ReplaceAll(s.text, "{ … }", `{ panic("") }`), `${1}panic("")`)
		source = s.lineComment() + "package p; func _() error { " + text + "\nreturn nil }"
		var err error
		if file, err = parser.ParseFile(fset, "", source, 0); err != nil {
			return nil, err
		}
	}
	// Add what is unresolved, and what that needs in turn.
	added, imports, rest := map[string]bool{}, "", ""
	for {
		done := true
		for _, id := range file.Unresolved {
			if added[id.Name] {
				continue
			}
			if decl := prelude.find(s.name(), id.Name); decl != "" {
				added[id.Name], done = true, false
				rest += "\n" + decl
			} else if path := prelude.imports[id.Name]; path != "" {
				added[id.Name], done = true, false
				imports += fmt.Sprintf("import %s %q; ", id.Name, path)
			}
		}
		if done {
			return file, nil
		}
		var err error
		all := strings.Replace(source, "package p; ", "package p; "+imports, 1) + "\n//line prelude:1\n" + rest
		if file, err = parser.ParseFile(fset, "", all, 0); err != nil {
			return nil, err
		}
	}
}

// mapImports has the imports of the example's module lead to packages of this one.
func mapImports(text string) string {
	return strings.ReplaceAll(text, `"example.com/shop/shop"`, `"github.com/afgen/afgen/internal/snippets/shop"`)
}

// A prelude declares what snippets use.
type prelude struct {
	imports  map[string]string            // paths by package names
	decls    map[string]map[string]string // sources of declarations by page and name
	packages map[string]*ast.File         // the directories of testdata/prelude, packages of example.com/shop, by path
	fset     *token.FileSet
}

// find returns the declaration of a name for a page, or "".
func (p *prelude) find(page, name string) string {
	if decl := p.decls[page][name]; decl != "" {
		return decl
	}
	return p.decls["common"][name]
}

// declare adds the declarations of a file with that source, except for those that the page has already.
func (p *prelude) declare(page string, source []byte, file *ast.File) {
	text := func(n ast.Node) string {
		return string(source[p.fset.Position(n.Pos()).Offset:p.fset.Position(n.End()).Offset])
	}
	decls, methods := map[string]string{}, map[string]string{}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				decls[d.Name.Name] = text(d) + "\n"
			} else {
				methods[strings.TrimPrefix(text(d.Recv.List[0].Type), "*")] += text(d) + "\n"
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				var names []*ast.Ident
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = []*ast.Ident{spec.Name}
				case *ast.ValueSpec:
					names = spec.Names
				}
				for _, n := range names {
					decls[n.Name] = d.Tok.String() + " " + text(spec) + "\n"
				}
			}
		}
	}
	if p.decls[page] == nil {
		p.decls[page] = map[string]string{}
	}
	for name, decl := range decls {
		if p.decls[page][name] == "" {
			p.decls[page][name] = decl + methods[name]
		}
	}
}

func readPrelude(t *testing.T, fset *token.FileSet) *prelude {
	t.Helper()
	p := &prelude{
		imports:  map[string]string{},
		decls:    map[string]map[string]string{},
		packages: map[string]*ast.File{},
		fset:     fset,
	}
	files, err := filepath.Glob("testdata/prelude/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			importPath := unquote(i.Path.Value)
			if i.Name != nil {
				p.imports[i.Name.Name] = importPath
			} else {
				p.imports[path.Base(importPath)] = importPath
			}
		}
		p.declare(strings.TrimSuffix(filepath.Base(name), ".go"), source, file)
	}
	inner, err := filepath.Glob("testdata/prelude/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range inner {
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Base(filepath.Dir(name))
		p.packages["example.com/shop/"+dir], p.imports[dir] = file, "example.com/shop/"+dir
	}
	return p
}

type importerFunc func(path string) (*types.Package, error)

func (f importerFunc) Import(path string) (*types.Package, error) { return f(path) }

// load returns an importer of packages, whose types are read from what the compiler has written.
func load(t *testing.T, prelude *prelude, imports map[string]bool) types.Importer {
	t.Helper()
	var paths []string
	for i := range imports {
		if prelude.packages[i] == nil {
			paths = append(paths, i)
		}
	}
	for _, file := range prelude.packages {
		for _, i := range file.Imports {
			paths = append(paths, unquote(i.Path.Value))
		}
	}
	slices.Sort(paths)
	config := &packages.Config{
		Mode: packages.NeedName | packages.NeedTypes | packages.NeedImports | packages.NeedExportFile,
		Env:  append(os.Environ(), "GOFLAGS="+testkit.GoFlags()),
	}
	loaded, err := packages.Load(config, slices.Compact(paths)...)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]*types.Package{}
	for _, p := range loaded {
		for _, err := range p.Errors {
			t.Error(err)
		}
		known[p.PkgPath] = p.Types
	}
	var importer importerFunc
	importer = func(path string) (*types.Package, error) {
		if p := known[path]; p != nil {
			return p, nil
		}
		file := prelude.packages[path]
		if file == nil {
			return nil, fmt.Errorf("no package %s", path)
		}
		p, err := (&types.Config{Importer: importer}).Check(path, prelude.fset, []*ast.File{file}, nil)
		known[path] = p
		return p, err
	}
	return importer
}

func unquote(s string) string {
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}
