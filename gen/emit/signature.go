package emit

import (
	"cmp"
	"strings"

	"github.com/dave/jennifer/jen"

	"github.com/afgen/afgen/gen/ir"
)

// A variable is one parameter or result.
type variable struct {
	name     string // "" if it has none
	typ      *ir.Type
	variadic bool // typ is the slice
}

// A signature is that of a function, including the context and the error.
type signature struct {
	params, results           []variable
	namedParams, namedResults bool
}

// params returns m's parameters after the context.
func params(m ir.Method) []variable {
	vars := variables(m.Params)
	if m.Variadic {
		vars[len(vars)-1].variadic = true
	}
	return vars
}

func variables(params []ir.Param) []variable {
	vars := make([]variable, len(params))
	for i := range params {
		vars[i] = variable{name: params[i].Name, typ: &params[i].Type}
	}
	return vars
}

var (
	contextType = &ir.Type{Kind: ir.Named, Path: "context", Name: "Context"}
	errorType   = &ir.Type{Kind: ir.Basic, Name: "error"}
)

// declared returns m's signature as the user declared it.
func declared(m ir.Method) signature {
	params := append([]variable{{name: m.Ctx, typ: contextType}}, params(m)...)
	return signature{
		params:       params,
		results:      append(variables(m.Results), variable{name: m.Err, typ: errorType}),
		namedParams:  isNamed(params),
		namedResults: m.Named,
	}
}

// isNamed reports whether vars are named in the source. If one is, those without a name are blank.
func isNamed(vars []variable) bool {
	for _, v := range vars {
		if v.name != "" {
			return true
		}
	}
	return false
}

// spellAll returns the texts of vars in a list, with types as spell spells them.
func spellAll(vars []variable, named bool, spell func(*ir.Type) string) []spelling {
	spellings := make([]spelling, len(vars))
	for i, v := range vars {
		s := &spellings[i]
		if v.variadic {
			s.typ = "..." + spell(v.typ.Elem)
		} else {
			s.typ = spell(v.typ)
		}
		if !named {
			continue
		}
		s.name = cmp.Or(v.name, "_")
		if i > 0 && spellings[i-1].typ == s.typ {
			spellings[i-1].typ = ""
		}
	}
	return spellings
}

// elements returns vars as elements of a list.
func (w *writer) elements(vars []variable, named bool) []element {
	elements := make([]element, len(vars))
	for i, s := range spellAll(vars, named, w.spell) {
		elements[i] = w.variableElement(s, vars[i])
	}
	return elements
}

// variableElement returns v as an element that s spells.
func (w *writer) variableElement(s spelling, v variable) element {
	return w.element(s, func() jen.Code {
		switch {
		case s.typ == "":
			return jen.Id(s.name)
		case s.name != "":
			return jen.Id(s.name).Add(w.variableElement(spelling{typ: s.typ}, v).code)
		case v.variadic:
			return jen.Op("...").Add(w.typeElement(v.typ.Elem).code)
		}
		return typeCode(v.typ)
	})
}

// signatureCode returns the code that follows the name of a function with the signature s. The rest of its line is
// others columns wide.
func (w *writer) signatureCode(s signature, others int) *jen.Statement {
	results := w.elements(s.results, s.namedResults)
	others += len(" ") + width(results)
	result := results[0].code
	if len(results) > 1 || s.namedResults {
		others += len("()")
		result = jen.Params(codes(results)...)
	}
	return list("(", w.elements(s.params, s.namedParams), ")", others).Add(result)
}

// description returns the signature of m for people, without the context and the error.
func (w *writer) description(m ir.Method) string {
	in, out := params(m), variables(m.Results)
	text := "(" + join(spellAll(in, isNamed(in), w.describe)) + ")"
	if len(out) > 0 {
		text += " (" + join(spellAll(out, m.Named, w.describe)) + ")"
	}
	return text
}

func join(spellings []spelling) string {
	texts := make([]string, len(spellings))
	for i, s := range spellings {
		texts[i] = s.String()
	}
	return strings.Join(texts, ", ")
}

// assertion returns an assignment that compiles only if a method still has the signature that the file was generated
// from.
func (w *writer) assertion(typ string, m ir.Method) jen.Code {
	receiver := &ir.Type{Kind: ir.Pointer, Elem: w.local(typ)}
	s := declared(m)
	s.params = append([]variable{{typ: receiver}}, s.params...)
	s.namedParams, s.namedResults = false, false
	others := columns("    _ func = (*", typ, ").", m.GoName)
	return jen.Id("_").Func().Add(w.signatureCode(s, others)).Op("=").Parens(w.typeElement(receiver).code).Dot(m.GoName)
}

// backoffAssertion is like assertion for a worker's method Backoff, which has no context and returns no error.
func (w *writer) backoffAssertion(typ string) jen.Code {
	receiver := w.typeElement(&ir.Type{Kind: ir.Pointer, Elem: w.local(typ)}).code
	return jen.Id("_").Func().Params(receiver, jen.Int(), jen.Error()).Qual("time", "Duration").Op("=").
		Parens(receiver).Dot("Backoff")
}
