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
	typ      ir.Type
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

// A spelling is the text of a variable in a list.
type spelling struct {
	name string // "" if the list is not named
	typ  string // "" if it follows the name of a later variable, like that of x in x, y int
}

func (s spelling) String() string {
	if s.name == "" || s.typ == "" {
		return s.name + s.typ
	}
	return s.name + " " + s.typ
}

// spellAll returns the texts of vars in a list, with types as spell spells them.
func spellAll(vars []variable, named bool, spell func(ir.Type) string) []spelling {
	spellings := make([]spelling, len(vars))
	for i, v := range vars {
		s := &spellings[i]
		if v.variadic {
			s.typ = "..." + spell(*v.typ.Elem)
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
		elements[i] = w.element(s.String(), func() jen.Code {
			code := &jen.Statement{}
			if s.name != "" {
				code.Id(s.name)
			}
			switch {
			case s.typ == "":
				return code
			case vars[i].variadic:
				return code.Op("...").Add(typeCode(*vars[i].typ.Elem))
			}
			return code.Add(typeCode(vars[i].typ))
		})
	}
	return elements
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
	receiver := w.local(typ)
	s := declared(m)
	s.params = append([]variable{{typ: ir.Type{Kind: ir.Pointer, Elem: &receiver}}}, s.params...)
	s.namedParams, s.namedResults = false, false
	others := columns("    _ func = (*", typ, ").", m.GoName)
	return jen.Id("_").Func().Add(w.signatureCode(s, others)).Op("=").Parens(jen.Op("*").Id(typ)).Dot(m.GoName)
}
