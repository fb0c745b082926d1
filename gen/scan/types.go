package scan

import (
	"fmt"
	"go/types"
	"reflect"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// A reader turns checked types into intermediate representation and collects, for one package, the definitions and
// imports that they need.
type reader struct {
	pkg     *ir.Package
	client  string // the package of the client half; "" for the type's own
	invalid bool   // a type could not be resolved; the checker has said why, or nobody has
	// The type is only spelled and no value of it is sent: of an unexported field, or a type argument.
	spelling bool
	depth    int // of named types in each other
}

// maxDepth bounds how deep named types may be nested: a generic type that mentions ever larger instances of itself,
// which the checker has reported, has no end.
const maxDepth = 100

// A refusal says why a type can't travel: path leads to the culprit, what describes it.
type refusal struct {
	path string
	what string
	hint string
}

// spell converts the spelling of a type, and refuses what can't be sent as a value of it.
func (r *reader) spell(t types.Type, path string) (ir.Type, *refusal) {
	switch t := t.(type) {
	case *types.Basic:
		return r.basic(t, path)
	case *types.Alias:
		if t.Obj().Pkg() == nil { // any
			return ir.Type{Kind: ir.Any, Name: t.Obj().Name()}, nil
		}
		return r.named(t, t.Obj(), t.TypeArgs(), path)
	case *types.Named:
		return r.named(t, t.Obj(), t.TypeArgs(), path)
	case *types.Pointer:
		return r.around(ir.Type{Kind: ir.Pointer}, t.Elem(), path)
	case *types.Slice:
		return r.around(ir.Type{Kind: ir.Slice}, t.Elem(), path+"[]")
	case *types.Array:
		return r.around(ir.Type{Kind: ir.Array, Len: t.Len()}, t.Elem(), path+"[]")
	case *types.Map:
		if no := r.mapKey(t.Key(), path); no != nil {
			return ir.Type{}, no
		}
		key, no := r.spell(t.Key(), "a key of "+path)
		if no != nil {
			return ir.Type{}, no
		}
		return r.around(ir.Type{Kind: ir.Map, Key: &key}, t.Elem(), path+"[]")
	case *types.Struct:
		return r.anonymous(t, path)
	case *types.Interface:
		if t.Empty() {
			return ir.Type{Kind: ir.Any, Name: "interface{}"}, nil
		}
		return ir.Type{}, &refusal{path, "an interface", "a reader of JSON can't know what is inside: use a struct, or any"}
	case *types.Chan:
		return ir.Type{}, &refusal{path, "a channel", "send what is read from it, as a slice"}
	case *types.Signature:
		return ir.Type{}, &refusal{path, "a func", "code can't be sent"}
	}
	return ir.Type{}, &refusal{path, "of type " + r.typeString(t), ""}
}

func (r *reader) basic(t *types.Basic, path string) (ir.Type, *refusal) {
	switch {
	case t.Kind() == types.Invalid:
		r.invalid = true
		return ir.Type{Kind: ir.Any, Name: "any"}, nil
	case t.Info()&types.IsComplex != 0:
		return ir.Type{}, &refusal{path, "a complex number", "JSON has none: send two floats"}
	case t.Kind() == types.UnsafePointer:
		return ir.Type{}, &refusal{path, "an unsafe.Pointer", "memory can't be sent"}
	}
	return ir.Type{Kind: ir.Basic, Name: t.Name()}, nil
}

// around converts a type made of one other.
func (r *reader) around(outer ir.Type, elem types.Type, path string) (ir.Type, *refusal) {
	e, no := r.spell(elem, path)
	if no != nil {
		return ir.Type{}, no
	}
	outer.Elem = &e
	return outer, nil
}

// named converts a defined type or alias, and defines it where that hasn't been done.
func (r *reader) named(t types.Type, obj *types.TypeName, args *types.TypeList, path string) (ir.Type, *refusal) {
	if obj.Pkg() == nil { // error, comparable
		return ir.Type{}, &refusal{path, "an " + obj.Name(), "send its text, or a struct that says what failed"}
	}
	if obj.Pkg().Path() == "context" && obj.Name() == "Context" {
		return ir.Type{}, &refusal{path, "a context.Context", "the context is the first parameter and nothing else"}
	}
	out := ir.Type{Kind: ir.Named, Path: obj.Pkg().Path(), Name: obj.Name()}
	for a := range args.Types() {
		arg, no := r.spellOnly(a, "a type argument of "+path)
		if no != nil {
			if r.spelling {
				return ir.Type{}, no
			}
			if _, inside := r.definition(t, path); inside != nil {
				no = inside // says where in the type the argument is sent
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
	return out, r.define(out.ID(), t, path)
}

// spellOnly converts the spelling of a type of which no value is sent. What has no spelling in the representation is
// refused all the same.
func (r *reader) spellOnly(t types.Type, path string) (ir.Type, *refusal) {
	before := r.spelling
	r.spelling = true
	defer func() { r.spelling = before }()
	return r.spell(t, path)
}

// define says what encoding/json makes of a named type, once.
func (r *reader) define(id string, t types.Type, path string) *refusal {
	if _, known := r.pkg.Defs[id]; known {
		return nil
	}
	if r.depth == maxDepth {
		root, _, _ := strings.Cut(path, ".")
		return &refusal{root, "of a type without end", "a generic type that mentions ever larger instances of itself can't be described"}
	}
	r.depth++
	defer func() { r.depth-- }()
	r.pkg.Defs[id] = ir.Def{} // for types that mention themselves
	def, no := r.definition(t, path)
	if no != nil {
		// Whoever mentions it next is to be refused too.
		delete(r.pkg.Defs, id)
		return no
	}
	r.pkg.Defs[id] = def
	return nil
}

func (r *reader) definition(t types.Type, path string) (ir.Def, *refusal) {
	if alias, ok := t.(*types.Alias); ok {
		target, no := r.spell(alias.Rhs(), path)
		return ir.Def{Underlying: &target}, no
	}
	if enc := marshalsItself(t); enc != "" {
		return ir.Def{Encoding: enc}, nil
	}
	if s, ok := t.Underlying().(*types.Struct); ok {
		members, no := r.members(s, path)
		return ir.Def{Members: members}, no
	}
	under, no := r.spell(t.Underlying(), path)
	return ir.Def{Underlying: &under}, no
}

// members converts what encoding/json sends of a struct.
func (r *reader) members(s *types.Struct, path string) ([]ir.Member, *refusal) {
	var members []ir.Member
	for i := range s.NumFields() {
		f := s.Field(i)
		tag := reflect.StructTag(s.Tag(i)).Get("json")
		if tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		at := path + "." + f.Name()
		promoted := f.Embedded() && name == "" && isStruct(f.Type())
		if !f.Exported() && !promoted {
			continue
		}
		if _, ptr := f.Type().Underlying().(*types.Pointer); ptr && promoted && !f.Exported() {
			return nil, &refusal{at, "an embedded pointer to an unexported struct", "encoding/json can't fill it: embed the struct itself"}
		}
		t, no := r.spell(f.Type(), at)
		if no != nil {
			return nil, no
		}
		m := ir.Member{Name: name, Type: t}
		if name == "" && !promoted {
			m.Name = f.Name()
		}
		for o := range strings.SplitSeq(options, ",") {
			m.Optional = m.Optional || o == "omitempty" || o == "omitzero"
			m.Quoted = m.Quoted || o == "string"
		}
		members = append(members, m)
	}
	return members, nil
}

// anonymous converts a struct without a name. Its unexported fields don't travel, but it can't be spelled without them.
func (r *reader) anonymous(s *types.Struct, path string) (ir.Type, *refusal) {
	out := ir.Type{Kind: ir.Struct}
	for i := range s.NumFields() {
		f := s.Field(i)
		spell := r.spell
		if !f.Exported() && !f.Embedded() || reflect.StructTag(s.Tag(i)).Get("json") == "-" {
			spell = r.spellOnly
		}
		t, no := spell(f.Type(), path+"."+f.Name())
		if no != nil {
			return ir.Type{}, no
		}
		out.Fields = append(out.Fields, ir.Field{Name: f.Name(), Embedded: f.Embedded(), Tag: s.Tag(i), Type: t})
	}
	return out, nil
}

// isStruct says whether t is a struct, or a pointer to one, whose fields would be promoted in JSON.
func isStruct(t types.Type) bool {
	if p, ok := t.Underlying().(*types.Pointer); ok {
		t = p.Elem()
	}
	_, ok := t.Underlying().(*types.Struct)
	return ok && marshalsItself(t) == ""
}

// mapKey refuses a map key that encoding/json does.
func (r *reader) mapKey(t types.Type, path string) *refusal {
	if b, ok := t.Underlying().(*types.Basic); ok && b.Info()&(types.IsString|types.IsInteger) != 0 || isInvalid(t) {
		return nil
	}
	if has(t, "MarshalText", isMarshal) && has(types.NewPointer(t), "UnmarshalText", isUnmarshal) {
		return nil
	}
	return &refusal{path, "a map with keys of type " + r.typeString(t), "JSON keys are strings: use a string, an integer or a type that marshals itself to text"}
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

// marshalsItself says how t is sent by methods of its own, in both directions; "" where it isn't.
func marshalsItself(t types.Type) string {
	p := types.NewPointer(t)
	switch {
	case has(p, "MarshalJSON", isMarshal) && has(p, "UnmarshalJSON", isUnmarshal):
		return ir.EncodingJSON
	case has(p, "MarshalText", isMarshal) && has(p, "UnmarshalText", isUnmarshal):
		return ir.EncodingText
	}
	return ""
}

func has(t types.Type, name string, shape func(*types.Signature) bool) bool {
	obj, _, _ := types.LookupFieldOrMethod(t, true, nil, name)
	f, ok := obj.(*types.Func)
	return ok && shape(f.Signature())
}

// isMarshal says whether a method is func() ([]byte, error).
func isMarshal(s *types.Signature) bool {
	return s.Params().Len() == 0 && s.Results().Len() == 2 && isBytes(s.Results().At(0).Type()) && isError(s.Results().At(1).Type())
}

// isUnmarshal says whether a method is func([]byte) error.
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

// String is the refusal as the end of a message.
func (n *refusal) String() string {
	return fmt.Sprintf("%s is %s, which can't be sent", n.path, n.what)
}
