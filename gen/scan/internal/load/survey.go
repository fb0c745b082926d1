package load

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/diag"
)

// survey reads all Go files in the directory of a requested package. It collects the names in use and the excluded
// files, and reports files that the go command can't parse.
func (l *Loader) survey(u *Unit) {
	u.Taken, u.ImportNames = map[string]token.Position{}, map[string]token.Position{}
	entries, err := os.ReadDir(u.Pkg.Dir)
	if err != nil {
		return // it was removed after listing
	}
	for _, e := range entries {
		name := filepath.Join(u.Pkg.Dir, e.Name())
		if e.IsDir() || !strings.HasSuffix(name, ".go") ||
			strings.HasPrefix(e.Name(), "_") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if slices.Contains(l.config.OutputNames, e.Name()) {
			continue // generated, or reported as a file in the way
		}
		src, read := l.Sources[name]
		if !read {
			if src, err = os.ReadFile(name); err != nil || l.config.Generated(e.Name(), src) {
				continue
			}
		}
		l.surveyFile(u, name, src, read)
	}
}

func (l *Loader) surveyFile(u *Unit, name string, src []byte, read bool) {
	ignored := slices.Contains(u.Pkg.IgnoredFiles, name)
	test := strings.HasSuffix(name, "_test.go")
	if ignored && !test {
		u.Excluded = append(u.Excluded, Excluded{name, src})
	}
	tree, err := parser.ParseFile(l.Fset, name, src, parser.SkipObjectResolution)
	if !ignored && !test {
		l.Sources[name] = src
		if !read { // the go command neither compiles nor ignores it
			u.Broken = l.reportSyntax(err) || u.Broken
		}
		if err == nil && tree.Name.Name != u.Pkg.Name {
			u.Broken = true
			l.Report(l.Fset.PositionFor(tree.Name.Pos(), false), len(tree.Name.Name), diag.MixedPackages,
				fmt.Sprintf("package %s in a directory with package %s", tree.Name.Name, u.Pkg.Name),
				"a directory has one package: move the file, or fix its package clause")
		}
	}
	if tree != nil && tree.Name.Name == u.Pkg.Name {
		l.TakeNames(u, tree)
	}
}

// TakeNames records the names that a file declares at package level and those of its imports.
func (l *Loader) TakeNames(u *Unit, tree *ast.File) {
	take := func(id *ast.Ident) { u.Taken[id.Name] = l.Fset.PositionFor(id.Pos(), false) }
	for _, spec := range tree.Imports {
		if n := u.importName(spec, u.resolve(spec)); n != "." && n != "_" {
			u.ImportNames[n] = l.Fset.PositionFor(spec.Pos(), false)
		}
	}
	for _, d := range tree.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			for _, s := range d.Specs {
				for _, id := range Declared(s) {
					take(id)
				}
			}
		case *ast.FuncDecl:
			if d.Recv == nil {
				take(d.Name)
			}
		}
	}
}
