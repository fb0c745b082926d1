package emit

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dave/jennifer/jen"

	"github.com/afgen/afgen/gen/ir"
)

// A variable is one parameter or result.
type variable struct {
	name     string // "" if it has none
	typ      ir.Type
	variadic bool // typ is the slice
	grouped  bool // the type follows the name of a later variable, like that of x in x, y int
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
	for i, p := range params {
		vars[i] = variable{name: p.Name, typ: p.Type}
	}
	return vars
}

func contextVariable(name string) variable {
	return variable{name: name, typ: ir.Type{Kind: ir.Named, Path: "context", Name: "Context"}}
}

func errorVariable(name string) variable {
	return variable{name: name, typ: ir.Type{Kind: ir.Basic, Name: "error"}}
}

// declared returns m's signature as the user declared it.
func declared(m ir.Method) signature {
	params := append([]variable{contextVariable(m.Ctx)}, params(m)...)
	return signature{
		params:       params,
		results:      append(variables(m.Results), errorVariable(m.Err)),
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

// spelled returns vars as they appear in a list, and the text of each with its type spelled by spell. If the list is
// named, each has a name, and consecutive variables of one type are grouped; otherwise none has.
func spelled(vars []variable, named bool, spell func(ir.Type) string) ([]variable, []string) {
	list, texts := slices.Clone(vars), make([]string, len(vars))
	next := ""
	for i := len(list) - 1; i >= 0; i-- {
		v := &list[i]
		typ := ""
		if v.variadic {
			typ = "..." + spell(*v.typ.Elem)
		} else {
			typ = spell(v.typ)
		}
		v.name = cmp.Or(v.name, "_")
		v.grouped = named && typ == next
		next = typ
		switch {
		case !named:
			v.name, texts[i] = "", typ
		case v.grouped:
			texts[i] = v.name
		default:
			texts[i] = v.name + " " + typ
		}
	}
	return list, texts
}

func (v variable) code() *jen.Statement {
	code := &jen.Statement{}
	if v.name != "" {
		code.Id(v.name)
	}
	switch {
	case v.grouped:
		return code
	case v.variadic:
		return code.Op("...").Add(typeCode(*v.typ.Elem))
	}
	return code.Add(typeCode(v.typ))
}

func (w *writer) elements(vars []variable, named bool) []element {
	list, texts := spelled(vars, named, w.spell)
	elements := make([]element, len(list))
	for i, v := range list {
		elements[i] = element{v.code(), utf8.RuneCountInString(texts[i])}
	}
	return elements
}

// signatureCode returns what follows the name of a function with the signature s. The rest of its line is others columns
// wide.
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

// description is m's signature for people, without the context and the error.
func (w *writer) description(m ir.Method) string {
	in, out := params(m), variables(m.Results)
	_, texts := spelled(in, isNamed(in), w.describe)
	text := "(" + strings.Join(texts, ", ") + ")"
	if len(out) > 0 {
		_, texts = spelled(out, m.Named, w.describe)
		text += " (" + strings.Join(texts, ", ") + ")"
	}
	return text
}

// assertion declares that the method of a type still has the signature that it was generated from.
func (w *writer) assertion(typ string, m ir.Method) jen.Code {
	receiver := w.local(typ)
	s := declared(m)
	s.params = append([]variable{{typ: ir.Type{Kind: ir.Pointer, Elem: &receiver}}}, s.params...)
	s.namedParams, s.namedResults = false, false
	others := columns("    _ func = (*%s).%s", typ, m.GoName)
	return jen.Id("_").Func().Add(w.signatureCode(s, others)).Op("=").Parens(jen.Op("*").Id(typ)).Dot(m.GoName)
}
