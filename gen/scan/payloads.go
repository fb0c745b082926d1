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
)

// checkPayloads demands that types that are sent and declared behind a build constraint are declared alike in the files for
// other systems: otherwise the contract would depend on where afgen runs. Only the user's own packages are looked at, and
// only what signatures mention.
func (w *loader) checkPayloads() {
	for _, u := range w.units {
		if !u.main || u.broken || len(u.pkg.IgnoredFiles) == 0 {
			continue
		}
		var names []string
		for name, l := range u.need {
			d := u.names[name]
			if l < whole || d == nil || w.constraintOf(d.file) == nil || u.marshals(name) {
				continue
			}
			if spec, ok := d.spec.(*ast.TypeSpec); ok && !spec.Assign.IsValid() {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			w.checkVariantsOf(u, names)
		}
	}
}

// marshals reports whether a type has an encoding of its own, so that what it is made of isn't sent.
func (u *unit) marshals(name string) bool {
	return slices.ContainsFunc(u.method[name], func(d *ast.FuncDecl) bool {
		return d.Name.Name == "MarshalJSON" || d.Name.Name == "MarshalText"
	})
}

// checkVariantsOf compares types with their declarations in files that are excluded here.
func (w *loader) checkVariantsOf(u *unit, names []string) {
	for _, name := range u.pkg.IgnoredFiles {
		src, err := os.ReadFile(name)
		if err != nil || w.config.Generated(name, src) || strings.HasSuffix(name, "_test.go") {
			continue
		}
		tree, _ := parser.ParseFile(w.fset, name, src, parser.SkipObjectResolution)
		if tree == nil || tree.Name.Name != u.pkg.Name || buildtag.Ignored(buildtag.Of(name, src, false)) {
			continue
		}
		w.sources[name] = src
		for _, d := range tree.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, s := range gen.Specs {
				if spec := s.(*ast.TypeSpec); slices.Contains(names, spec.Name.Name) {
					w.checkAlike(u, u.names[spec.Name.Name].spec.(*ast.TypeSpec), spec)
				}
			}
		}
	}
}

func (w *loader) checkAlike(u *unit, a, b *ast.TypeSpec) {
	if sent(a) == sent(b) {
		return
	}
	first, second := w.fset.PositionFor(a.Name.Pos(), false), w.fset.PositionFor(b.Name.Pos(), false)
	if first.Filename > second.Filename { // wherever afgen runs
		first, second = second, first
	}
	w.report(u, second, len(a.Name.Name), diag.Differs, fmt.Sprintf("type %s differs from its declaration at %s", a.Name.Name, w.place(first)),
		"a contract is the same on every system: give both the same members, or the types other names")
}

// sent spells what a declaration says of what is sent: of a struct its exported and embedded fields, with their tags.
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
