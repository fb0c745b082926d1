package scan

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
	"github.com/afgen/afgen/gen/scan/internal/buildtag"
)

// survey looks at every Go file in a root's directory: which names are taken, what excluded files declare, and
// which files the go command could not read.
func (w *loader) survey(u *unit) {
	u.taken, u.importNames = map[string]token.Position{}, map[string]token.Position{}
	entries, err := os.ReadDir(u.pkg.Dir)
	if err != nil {
		return // the directory was there a moment ago; load would have failed
	}
	for _, e := range entries {
		name := filepath.Join(u.pkg.Dir, e.Name())
		if e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasPrefix(e.Name(), "_") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if slices.Contains(w.config.OutputNames, e.Name()) {
			continue // ours, or in the way: then that is what is wrong, and not the names in it
		}
		src, read := w.sources[name]
		if !read {
			if src, err = os.ReadFile(name); err != nil || w.config.Generated(e.Name(), src) {
				continue
			}
		}
		w.surveyFile(u, name, src, read)
	}
}

func (w *loader) surveyFile(u *unit, name string, src []byte, read bool) {
	ignored := slices.Contains(u.pkg.IgnoredFiles, name)
	test := strings.HasSuffix(name, "_test.go")
	if ignored && !test {
		w.exclude(u, name, src)
	}
	tree, err := parser.ParseFile(w.fset, name, src, parser.SkipObjectResolution)
	if !ignored && !test {
		w.sources[name] = src
		if !read { // neither taken nor left out by the go command
			u.broken = w.reportSyntax(u, err) || u.broken
		}
		if err == nil && tree.Name.Name != u.pkg.Name {
			u.broken = true
			w.report(u, w.fset.PositionFor(tree.Name.Pos(), false), len(tree.Name.Name), diag.MixedPackages,
				fmt.Sprintf("package %s in a folder of package %s", tree.Name.Name, u.pkg.Name),
				"a folder holds one package: move the file, or correct its package clause")
		}
	}
	if tree != nil && tree.Name.Name == u.pkg.Name {
		w.takeNames(u, tree)
	}
}

// takeNames notes what a file declares at package level and what it imports by.
func (w *loader) takeNames(u *unit, tree *ast.File) {
	take := func(id *ast.Ident) { u.taken[id.Name] = w.fset.PositionFor(id.Pos(), false) }
	for _, spec := range tree.Imports {
		if n := u.importName(spec, u.resolve(spec)); n != "." && n != "_" {
			u.importNames[n] = w.fset.PositionFor(spec.Pos(), false)
		}
	}
	for _, d := range tree.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			for _, s := range d.Specs {
				for _, id := range declared(s) {
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

// checkOutputNames reports the files of an annotated package that have the names of afgen's output and aren't.
func (w *loader) checkOutputNames(u *unit) {
	names := slices.Clone(w.config.OutputNames)
	for _, t := range u.types {
		if w.config.ConstrainedFile != nil && t.constraint != nil {
			names = append(names, w.config.ConstrainedFile(buildtag.String(t.constraint)))
		}
	}
	for _, base := range names {
		name := filepath.Join(u.pkg.Dir, base)
		content, err := os.ReadFile(name)
		if err != nil || w.config.Generated(base, content) {
			continue
		}
		w.sources[name] = content
		w.report(u, token.Position{Filename: name, Line: 1, Column: 1}, 1, diag.FileInTheWay, base+" exists and afgen didn't write it",
			"afgen needs this name: rename the file, or remove it")
	}
}
