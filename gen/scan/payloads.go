package scan

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/scan/internal/buildtag"
	"github.com/afgen/afgen/gen/scan/internal/load"
)

// checkPayloads reports types that are sent, declared behind a build constraint, and declared differently for other
// systems. Otherwise the contract would depend on the system that afgen runs on. It checks only types that signatures
// mention, in the user's packages.
func (sc *scanner) checkPayloads() {
	for u := range sc.Units() {
		if !u.Main || u.Broken || len(u.Pkg.IgnoredFiles) == 0 {
			continue
		}
		var names []string
		for name := range u.Needed() {
			d := u.Names[name]
			if d == nil || sc.constraintOf(d.File) == nil || marshals(u, name) {
				continue
			}
			if spec, ok := d.Spec.(*ast.TypeSpec); ok && !spec.Assign.IsValid() {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			sc.checkVariantsOf(u, names)
		}
	}
}

// marshals reports whether a type has its own encoding, so that its fields are not sent.
func marshals(u *load.Unit, name string) bool {
	return slices.ContainsFunc(u.Methods[name], func(d *ast.FuncDecl) bool {
		return d.Name.Name == "MarshalJSON" || d.Name.Name == "MarshalText"
	})
}

// checkVariantsOf compares types with their declarations in excluded files.
func (sc *scanner) checkVariantsOf(u *load.Unit, names []string) {
	for _, name := range u.Pkg.IgnoredFiles {
		src, err := os.ReadFile(name)
		if err != nil || sc.config.Generated(name, src) || strings.HasSuffix(name, "_test.go") {
			continue
		}
		tree, _ := parser.ParseFile(sc.Fset, name, src, parser.SkipObjectResolution)
		if tree == nil || tree.Name.Name != u.Pkg.Name || buildtag.Ignored(buildtag.Of(name, src, false)) {
			continue
		}
		sc.Sources[name] = src
		for _, d := range tree.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, s := range gen.Specs {
				if spec := s.(*ast.TypeSpec); slices.Contains(names, spec.Name.Name) {
					sc.checkAlike(u.Names[spec.Name.Name].Spec.(*ast.TypeSpec), spec)
				}
			}
		}
	}
}

func (sc *scanner) checkAlike(a, b *ast.TypeSpec) {
	if sent(a) == sent(b) {
		return
	}
	first, second := sc.Position(a.Name.Pos()), sc.Position(b.Name.Pos())
	if first.Filename > second.Filename { // the same order on all systems
		first, second = second, first
	}
	sc.Report(second, len(a.Name.Name), diag.Differs,
		fmt.Sprintf("type %s differs from its declaration at %s", a.Name.Name, sc.place(first)),
		"a contract is the same on all systems: give both the same members, or different names")
}

// sent returns the parts of a type declaration that affect the wire. For a struct, these are its exported and embedded
// fields with their tags.
func sent(spec *ast.TypeSpec) string {
	var b strings.Builder
	put := func(n any) {
		if format.Node(&b, token.NewFileSet(), n) != nil {
			b.WriteString("?") // it has been parsed
		}
		b.WriteByte('\n')
	}
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		put(spec.Type)
		return b.String()
	}
	for _, f := range s.Fields.List {
		names := slices.DeleteFunc(slices.Clone(f.Names), func(id *ast.Ident) bool { return !id.IsExported() })
		if len(f.Names) > 0 && len(names) == 0 {
			continue
		}
		for _, id := range names {
			b.WriteString(id.Name + " ")
		}
		put(f.Type)
		if f.Tag != nil {
			b.WriteString(f.Tag.Value)
		}
	}
	return b.String()
}
