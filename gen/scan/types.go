package scan

import (
	"go/token"
	"go/types"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// A reader turns checked types into intermediate representation and collects, for one package, the definitions and
// imports that they need.
type reader struct {
	pkg     *ir.Package
	client  string // the package of the client half; "" for the type's own
	invalid bool   // a type could not be resolved; the checker has reported why, or the cause is in another package
	// The type is only spelled and no value of it is sent: of an unexported field, or a type argument.
	spelling bool
	depth    int // of named types in each other

	scanner  *scanner
	at       token.Pos // the parameter, result or field being read
	accepted map[string]position
	warnings []refusal
}

// A position is where a value is encoded from. Encoding/json calls methods with pointer receivers only if it can
// take an address.
type position int

const (
	// Parameters, results and payloads, and what pointers and slices hold. Fields and array elements are where their
	// struct or array is.
	addressable position = iota + 1
	// inMap is for the values of maps.
	inMap
)

// maxDepth bounds how deep named types may be nested: a generic type that mentions ever larger instances of itself,
// which the checker has reported, has no end.
const maxDepth = 100

// spellType converts the spelling of a type, and refuses what can't be sent as a value of it.
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
	return ir.Type{Kind: ir.Any, Name: "interface{}"}, nil // all other types have been refused
}

func (r *reader) basic(t *types.Basic) ir.Type {
	if t.Kind() == types.Invalid {
		r.invalid = true
		return ir.Type{Kind: ir.Any, Name: "any"}
	}
	return ir.Type{Kind: ir.Basic, Name: t.Name()}
}

// composite converts a type made of one other.
func (r *reader) composite(outer ir.Type, elem types.Type, path string, from position) (ir.Type, *refusal) {
	e, no := r.spellType(elem, path, from)
	if no != nil {
		return ir.Type{}, no
	}
	outer.Elem = &e
	return outer, nil
}

// named converts a defined type or alias, and defines it unless that has been done.
func (r *reader) named(t types.Type, obj *types.TypeName, args *types.TypeList, path string, from position) (ir.Type, *refusal) {
	out := ir.Type{Kind: ir.Named, Path: obj.Pkg().Path(), Name: obj.Name()}
	for a := range args.Types() {
		arg, no := r.spellOnly(a, "a type argument of "+path)
		if no != nil {
			if r.spelling {
				return ir.Type{}, no
			}
			if _, inside := r.definition(t, path, from); inside != nil {
				no = inside // names the place in the type where the argument is sent
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

// spellOnly converts the spelling of a type of which no value is sent. What has no spelling in the representation is
// refused all the same.
func (r *reader) spellOnly(t types.Type, path string) (ir.Type, *refusal) {
	before := r.spelling
	r.spelling = true
	defer func() { r.spelling = before }()
	return r.spellType(t, path, addressable)
}

// define describes what encoding/json makes of a named type, once for each position.
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
		r.pkg.Defs[id] = ir.Def{} // for types that mention themselves
	}
	r.accepted[id] = from
	def, no := r.definition(t, path, from)
	if no != nil {
		// The next type that mentions it must be refused too.
		delete(r.pkg.Defs, id)
		delete(r.accepted, id)
		return no
	}
	r.pkg.Defs[id] = def
	return nil
}

// pointsToItself reports whether a type is a pointer to itself, directly or not.
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

// jsonNumber is a string type that encoding/json writes as a number.
const jsonNumber = "json.Number"

func (r *reader) definition(t types.Type, path string, from position) (ir.Def, *refusal) {
	standard := r.scanner.isStandard(t)
	if alias, ok := t.(*types.Alias); ok {
		if standard { // in another version of Go the type may be what the alias is of, and the alias the type
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

// typeString spells a type in a message as the package itself would.
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
	return s.Params().Len() == 0 && s.Results().Len() == 2 && isBytes(s.Results().At(0).Type()) && isError(s.Results().At(1).Type())
}

// isUnmarshal reports whether a method is func([]byte) error.
func isUnmarshal(s *types.Signature) bool {
	return s.Params().Len() == 1 && s.Results().Len() == 1 && isBytes(s.Params().At(0).Type()) && isError(s.Results().At(0).Type())
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
