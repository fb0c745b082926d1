package emit_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// declareOwn returns user code for p: types, methods, and declarations of other taken names. It imports packages by
// unusual names.
func declareOwn(p *ir.Package) string {
	names := map[string]string{"context": "uÿcontext", runtimePath: "uÿruntime"}
	for i, path := range p.Mentioned() {
		if names[path] == "" {
			names[path] = fmt.Sprintf("uÿ%d", i)
		}
	}
	spell := func(t ir.Type) string {
		return t.Spell(func(path, name string) string {
			if path == p.Path {
				return name
			}
			return names[path] + "." + name
		})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n\n", p.Name)
	for _, path := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(&b, "import %s %q\n", names[path], path)
	}
	b.WriteString("\nvar _ uÿruntime.Task\n\n")
	declared := declareTypes(&b, p, p.Path)
	for _, s := range p.Services {
		fmt.Fprintf(&b, "type %s struct{}\n", s.Type)
		declared[s.Type] = true
		for _, m := range s.Methods {
			b.WriteString(declareMethod(s.Type, m, spell))
		}
	}
	for _, w := range p.Workers {
		fmt.Fprintf(&b, "type %s struct{}\n", w.Type)
		declared[w.Type] = true
		result := "error"
		if w.Result != nil {
			result = "(" + spell(*w.Result) + ", error)"
		}
		fmt.Fprintf(&b, "func (*%s) Run(uÿcontext.Context, %s) %s { for {} }\n", w.Type, spell(w.Payload), result)
		if w.SubtasksDone {
			fmt.Fprintf(&b, "func (*%s) SubtasksDone(uÿcontext.Context, %s, uÿruntime.Subtasks) error { for {} }\n", w.Type,
				spell(w.Payload))
		}
	}
	for _, name := range p.Taken {
		if !declared[name] {
			fmt.Fprintf(&b, "func %s() {}\n", name)
		}
	}
	return b.String()
}

// declareImports returns a file that imports packages by p.ImportNames.
func declareImports(p *ir.Package) string {
	var imports, uses strings.Builder
	for _, name := range p.ImportNames {
		fmt.Fprintf(&imports, "import %s \"context\"\n", name)
		fmt.Fprintf(&uses, "var _ %s.Context\n", name)
	}
	return "package " + p.Name + "\n" + imports.String() + uses.String()
}

// declareMethod declares m on a pointer to typ. The body uses no names, because parameters may shadow them.
func declareMethod(typ string, m ir.Method, spell func(ir.Type) string) string {
	blank := func(name string) string {
		if name == "" {
			return "_"
		}
		return name
	}
	params := []string{blank(m.Ctx) + " uÿcontext.Context"}
	for i, p := range m.Params {
		spelled := spell(p.Type)
		if m.Variadic && i == len(m.Params)-1 {
			spelled = "..." + spell(*p.Type.Elem)
		}
		params = append(params, blank(p.Name)+" "+spelled)
	}
	var results []string
	for _, r := range append(m.Results[:len(m.Results):len(m.Results)], ir.Param{Name: m.Err, Type: basic("error")}) {
		if m.Named {
			results = append(results, blank(r.Name)+" "+spell(r.Type))
		} else {
			results = append(results, spell(r.Type))
		}
	}
	return fmt.Sprintf("func (*%s) %s(%s) (%s) { for {} }\n", typ, m.GoName, strings.Join(params, ", "),
		strings.Join(results, ", "))
}

// declareOthers returns the packages that p mentions.
func declareOthers(p *ir.Package) map[string]string {
	files := map[string]string{}
	for path, name := range p.Imports {
		var b strings.Builder
		fmt.Fprintf(&b, "package %s\n\n", name)
		declareTypes(&b, p, path)
		files[path] = b.String()
	}
	return files
}

// declareTypes declares the types of path that p mentions, including generic ones, and returns their names.
func declareTypes(b *strings.Builder, p *ir.Package, path string) map[string]bool {
	declared := map[string]bool{}
	declare := func(t ir.Type) {
		if t.Kind != ir.Named || t.Path != path || declared[t.Name] {
			return
		}
		declared[t.Name] = true
		var typeParams string
		for i := range t.Args {
			typeParams += fmt.Sprintf("P%d any, ", i)
		}
		if typeParams != "" {
			typeParams = "[" + typeParams + "]"
		}
		fmt.Fprintf(b, "type %s%s struct{}\n", t.Name, typeParams)
	}
	for _, t := range mentioned(p) {
		t.Walk(declare)
	}
	return declared
}

// mentioned returns the types in the signatures of p.
func mentioned(p *ir.Package) []ir.Type {
	var all []ir.Type
	for _, s := range p.Services {
		for _, m := range s.Methods {
			for _, q := range slices.Concat(m.Params, m.Results) {
				all = append(all, q.Type)
			}
		}
	}
	for _, w := range p.Workers {
		all = append(all, w.Payload)
		if w.Result != nil {
			all = append(all, *w.Result)
		}
	}
	return all
}
