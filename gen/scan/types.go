package scan

import (
	"go/token"
	"go/types"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// A reader converts checked types of one package to the intermediate representation. It collects the definitions and
// imports that they need.
type reader struct {
	pkg     *ir.Package
	client  string // the package of the client half; "" for the type's own
	invalid bool   // a type is unresolved; the checker has reported it, or the cause is in another package
	// No value of the type is sent, as for unexported fields and type arguments. Only its spelling matters.
	spelling bool
	depth    int // of nested named types

	scanner  *scanner
	at       token.Pos // the parameter, result or field being read
	accepted map[string]position
	warnings []refusal
}

// A position is where an encoded value is stored. encoding/json calls methods with pointer receivers only if the value
// is addressable.
type position int

const (
	// addressable is the position of parameters, results, payloads, and elements of pointers and slices. Fields and array
	// elements have the position of their struct or array.
	addressable position = iota + 1
	// inMap is the position of map values.
	inMap
)

// maxDepth is the maximum depth of nested named types. It stops at infinite types: generic types with ever larger
// instances of themselves.
const maxDepth = 100

// spellType converts a type. It refuses a type whose values can't be sent.
func (r *reader) spellType(t types.Type, path string, from position) (ir.Type, *refusal) {
	if no := r.apply(sentType{r, t}, path); no != nil {
		return ir.Type{}, no
	}
	switch t := t.(type) {
	case *types.Basic:
		return r.basic(t), nil
	case *types.Alias:
		if isAny(t) {
			return ir.Type{Kind: ir.Any, Name: t.Obj().Name()}, nil
		}
		return r.named(t, t.Obj(), t.TypeArgs(), path, from)
	case *types.Named:
		return r.named(t, t.Obj(), t.TypeArgs(), path, from)
	case *types.Pointer:
		return r.composite(ir.Type{Kind: ir.Pointer}, t.Elem(), path, addressable)
	case *types.Slice:
		return r.composite(ir.Type{Kind: ir.Slice}, t.Elem(), path+"[]", addressable)
	case *types.Array:
		return r.composite(ir.Type{Kind: ir.Array, Len: t.Len()}, t.Elem(), path+"[]", from)
	case *types.Map:
		key, no := r.key(t.Key(), path)
		if no != nil {
			return ir.Type{}, no
		}
		return r.composite(ir.Type{Kind: ir.Map, Key: &key}, t.Elem(), path+"[]", inMap)
	case *types.Struct:
		return r.anonymous(t, path, from)
	}
	return ir.Type{Kind: ir.Any, Name: "interface{}"}, nil // other types have been refused
}

func (r *reader) basic(t *types.Basic) ir.Type {
	if t.Kind() == types.Invalid {
		r.invalid = true
		return ir.Type{Kind: ir.Any, Name: "any"}
	}
	return ir.Type{Kind: ir.Basic, Name: t.Name()}
}

// composite converts a type with one element type.
func (r *reader) composite(outer ir.Type, elem types.Type, path string, from position) (ir.Type, *refusal) {
	e, no := r.spellType(elem, path, from)
	if no != nil {
		return ir.Type{}, no
	}
	outer.Elem = &e
	return outer, nil
}

// named converts a defined type or alias and adds its definition.
func (r *reader) named(
	t types.Type, obj *types.TypeName, args *types.TypeList, path string, from position,
) (ir.Type, *refusal) {
	out := ir.Type{Kind: ir.Named, Path: obj.Pkg().Path(), Name: obj.Name()}
	for a := range args.Types() {
		arg, no := r.spellOnly(a, "a type argument of "+path)
		if no != nil {
			if r.spelling {
				return ir.Type{}, no
			}
			if _, inside := r.definition(t, path, from); inside != nil {
				no = inside // has the path to the value of the type argument
			}
			return ir.Type{}, no
		}
		out.Args = append(out.Args, arg)
	}
	if out.Path != r.pkg.Path {
		r.pkg.Imports[out.Path] = obj.Pkg().Name()
	}
	if r.spelling {
		return out, nil
	}
	return out, r.define(out.ID(), t, path, from)
}

// spellOnly converts a type whose values are not sent. It refuses types that the representation can't express.
func (r *reader) spellOnly(t types.Type, path string) (ir.Type, *refusal) {
	before := r.spelling
	r.spelling = true
	defer func() { r.spelling = before }()
	return r.spellType(t, path, addressable)
}

// define adds the JSON definition of a named type. It checks each position once.
func (r *reader) define(id string, t types.Type, path string, from position) *refusal {
	if r.accepted[id] >= from {
		return nil
	}
	root, _, _ := strings.Cut(path, ".")
	if no := r.apply(nesting{t, r.depth}, root); no != nil {
		return no
	}
	r.depth++
	defer func() { r.depth-- }()
	if _, known := r.pkg.Defs[id]; !known {
		r.pkg.Defs[id] = ir.Def{} // for recursive types
	}
	r.accepted[id] = from
	def, no := r.definition(t, path, from)
	if no != nil {
		// Other types that mention it must be refused as well.
		delete(r.pkg.Defs, id)
		delete(r.accepted, id)
		return no
	}
	r.pkg.Defs[id] = def
	return nil
}

// pointsToItself reports whether a type is a pointer to itself, directly or indirectly.
func pointsToItself(t types.Type) bool {
	seen := map[types.Type]bool{}
	for !seen[t] {
		p, ok := t.Underlying().(*types.Pointer)
		if !ok {
			return false
		}
		seen[t] = true
		t = types.Unalias(p.Elem())
	}
	return true
}

// jsonNumber is a string type that encoding/json encodes as a number.
const jsonNumber = "json.Number"

func (r *reader) definition(t types.Type, path string, from position) (ir.Def, *refusal) {
	standard := r.scanner.isStandard(t)
	if alias, ok := t.(*types.Alias); ok {
		if standard { // another version of Go may declare the alias as the type, and the type as the alias
			if enc, no := r.encoding(types.Unalias(t), path, from); no != nil || enc != "" {
				return ir.Def{Encoding: enc}, no
			}
		}
		target, no := r.spellType(alias.Rhs(), path, from)
		return ir.Def{Underlying: &target}, no
	}
	if standard && r.typeString(t) == jsonNumber {
		return ir.Def{Encoding: ir.EncodingJSON}, nil
	}
	enc, no := r.encoding(t, path, from)
	if no != nil || enc != "" {
		return ir.Def{Encoding: enc}, no
	}
	if s, ok := t.Underlying().(*types.Struct); ok {
		members, no := r.structMembers(s, t, path, from)
		return ir.Def{Members: members, Standard: standard}, no
	}
	under, no := r.spellType(t.Underlying(), path, from)
	return ir.Def{Underlying: &under}, no
}

// typeString returns a type for a message, as written in the package itself.
func (r *reader) typeString(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p.Path() == r.pkg.Path {
			return ""
		}
		return p.Name()
	})
}

func isInvalid(t types.Type) bool {
	b, ok := t.(*types.Basic)
	return ok && b.Kind() == types.Invalid
}

// isMarshal reports whether a method is func() ([]byte, error).
func isMarshal(s *types.Signature) bool {
	return s.Params().Len() == 0 && s.Results().Len() == 2 &&
		isBytes(s.Results().At(0).Type()) && isError(s.Results().At(1).Type())
}

// isUnmarshal reports whether a method is func([]byte) error.
func isUnmarshal(s *types.Signature) bool {
	return s.Params().Len() == 1 && s.Results().Len() == 1 &&
		isBytes(s.Params().At(0).Type()) && isError(s.Results().At(0).Type())
}

func isBytes(t types.Type) bool {
	return types.Identical(t, types.NewSlice(types.Typ[types.Byte]))
}

func isError(t types.Type) bool {
	return types.Identical(t, types.Universe.Lookup("error").Type())
}

func isContext(t types.Type) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == "context" && n.Obj().Name() == "Context"
}
