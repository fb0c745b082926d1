package emit

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/afgen/afgen/gen/ir"
)

// A variable is one parameter or result as it is spelled; the name is "" where it has none.
type variable struct{ name, typ string }

// A signature is that of a function, context and error included.
type signature struct {
	params, results []variable
	named           bool // the results are
}

// A spelling turns a type into Go source.
type spelling func(ir.Type) string

// qualify spells something of another package and sees that it is imported.
func (w *writer) qualify(path, name string) string {
	w.used[path] = true
	return w.imports[path] + "." + name
}

// af spells something of the runtime.
func (w *writer) af(name string) string { return w.qualify(runtimePath, name) }

// spell spells t as this file must.
func (w *writer) spell(t ir.Type) string {
	return t.Spell(func(path, name string) string {
		if path == w.Path {
			return name
		}
		return w.qualify(path, name)
	})
}

// describe spells t for people: by the names that packages give themselves, not by those that they are imported by. If two
// types of the package's signatures would be spelled alike, it spells each with its import path.
func (w *writer) describe(t ir.Type) string {
	return t.Spell(func(path, name string) string {
		switch {
		case path == w.Path:
			return name
		case w.twice[w.clauses[path]+"."+name]:
			return path + "." + name
		}
		return w.clauses[path] + "." + name
	})
}

// spelledTwice finds the qualified names that mean types of several packages.
func (a *plan) spelledTwice() map[string]bool {
	paths, twice := map[string]string{}, map[string]bool{}
	a.Walk(func(t ir.Type) {
		if t.Kind != ir.Named || t.Path == a.Path {
			return
		}
		name := a.clauses[t.Path] + "." + t.Name
		if other, ok := paths[name]; ok && other != t.Path {
			twice[name] = true
		}
		paths[name] = t.Path
	})
	return twice
}

// params returns m's parameters after the context.
func params(m ir.Method, spell spelling) []variable {
	vars := variables(m.Params, spell)
	if m.Variadic {
		last := m.Params[len(m.Params)-1].Type
		vars[len(vars)-1].typ = "..." + spell(*last.Elem)
	}
	return vars
}

func variables(params []ir.Param, spell spelling) []variable {
	vars := make([]variable, len(params))
	for i, p := range params {
		vars[i] = variable{p.Name, spell(p.Type)}
	}
	return vars
}

// declared returns m's signature as the user declared it.
func (w *writer) declared(m ir.Method) signature {
	ctx := variable{m.Ctx, w.qualify("context", "Context")}
	return signature{
		params:  append([]variable{ctx}, params(m, w.spell)...),
		results: append(variables(m.Results, w.spell), variable{m.Err, "error"}),
		named:   m.Named,
	}
}

// spell spells s after the name of a function or method; others is how many columns of the line are spoken for.
func (s signature) spell(others int) string {
	results := spellVariables(s.results, s.named)
	shut := ") (" + strings.Join(results, ", ") + ")"
	if len(results) == 1 && !s.named {
		shut = ") " + results[0]
	}
	return list("(", spellVariables(s.params, isNamed(s.params)), shut, others)
}

// isNamed says whether vars are named in the source: with one that is, the others are blank.
func isNamed(vars []variable) bool {
	for _, v := range vars {
		if v.name != "" {
			return true
		}
	}
	return false
}

// spellVariables spells vars, neighbours of one type together where they are named.
func spellVariables(vars []variable, named bool) []string {
	var spelled []string
	for i, v := range vars {
		switch {
		case !named:
			spelled = append(spelled, v.typ)
			continue
		case v.name == "":
			v.name = "_"
		}
		if i+1 < len(vars) && vars[i+1].typ == v.typ {
			spelled = append(spelled, v.name)
			continue
		}
		spelled = append(spelled, v.name+" "+v.typ)
	}
	return spelled
}

// description spells m's signature for people, without the context and the error.
func (w *writer) description(m ir.Method) string {
	in, out := params(m, w.describe), variables(m.Results, w.describe)
	text := "(" + strings.Join(spellVariables(in, isNamed(in)), ", ") + ")"
	if len(out) > 0 {
		text += " (" + strings.Join(spellVariables(out, m.Named), ", ") + ")"
	}
	return text
}

// assertion declares that the method of a type is still of the signature that it was generated from.
func (w *writer) assertion(typ, method string, s signature) string {
	shut := fmt.Sprintf(" = (*%s).%s", typ, method)
	s.params = append([]variable{{"", "*" + typ}}, s.params...)
	unnamed := signature{params: unname(s.params), results: unname(s.results)}
	return "_ func" + unnamed.spell(len("    _ func")+utf8.RuneCountInString(shut)) + shut
}

func unname(vars []variable) []variable {
	types := make([]variable, len(vars))
	for i, v := range vars {
		types[i].typ = v.typ
	}
	return types
}
