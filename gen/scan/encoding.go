package scan

import (
	"go/types"

	"github.com/afgen/afgen/gen/ir"
)

// A marshaler is a method that encoding/json calls to encode or decode a value.
type marshaler struct {
	name    string
	index   []int // of the fields that it is promoted from, and of the method
	pointer bool  // its receiver is a pointer
	value   bool  // it is in the method set of the value type
}

// methods are the marshalers of a type. Missing ones are nil.
type methods struct {
	marshalJSON, unmarshalJSON, marshalText, unmarshalText *marshaler
}

// methodsOf returns the marshalers of t and of a pointer to it.
func methodsOf(t types.Type) methods {
	t = types.Unalias(t)
	named, _ := t.(*types.Named)
	s, isStruct := t.Underlying().(*types.Struct)
	if embeds := isStruct && hasEmbedded(s); !embeds && (named == nil || named.NumMethods() == 0) {
		return methods{} // the common case
	}
	return methods{
		lookup(t, "MarshalJSON", isMarshal), lookup(t, "UnmarshalJSON", isUnmarshal),
		lookup(t, "MarshalText", isMarshal), lookup(t, "UnmarshalText", isUnmarshal),
	}
}

func hasEmbedded(s *types.Struct) bool {
	for f := range s.Fields() {
		if f.Embedded() {
			return true
		}
	}
	return false
}

func lookup(t types.Type, name string, shape func(*types.Signature) bool) *marshaler {
	obj, index, _ := types.LookupFieldOrMethod(t, true, nil, name)
	f, ok := obj.(*types.Func)
	if !ok || !shape(f.Signature()) {
		return nil
	}
	value, _, _ := types.LookupFieldOrMethod(t, false, nil, name)
	m := &marshaler{name: name, index: index, value: value != nil}
	if recv := f.Signature().Recv(); recv != nil {
		m.pointer = isPointer(recv.Type())
	}
	return m
}

// none reports whether a type has no marshalers.
func (m methods) none() bool { return m == methods{} }

// any returns the name of one of the marshalers, or "".
func (m methods) any() string {
	for _, one := range []*marshaler{m.marshalJSON, m.marshalText, m.unmarshalJSON, m.unmarshalText} {
		if one != nil {
			return one.name
		}
	}
	return ""
}

// marshal returns the method that encodes a value. inValue is set if the address of the value can't be taken.
func (m methods) marshal(inValue bool) (string, *marshaler) {
	switch {
	case m.marshalJSON != nil && (m.marshalJSON.value || !inValue):
		return ir.EncodingJSON, m.marshalJSON
	case m.marshalText != nil && (m.marshalText.value || !inValue):
		return ir.EncodingText, m.marshalText
	}
	return "", nil
}

// unmarshal returns the method that decodes a value. encoding/json always has its address.
func (m methods) unmarshal() (string, *marshaler) {
	switch {
	case m.unmarshalJSON != nil:
		return ir.EncodingJSON, m.unmarshalJSON
	case m.unmarshalText != nil:
		return ir.EncodingText, m.unmarshalText
	}
	return "", nil
}

// encoding returns the encoding that a defined type implements at a position, or "". It refuses a type whose methods
// don't form a pair.
func (r *reader) encoding(t types.Type, path string, from position) (string, *refusal) {
	m := methodsOf(t)
	if m.none() || types.IsInterface(t) {
		return "", nil
	}
	e := ownEncoding{methods: m, name: r.typeString(t), from: from}
	e.enc, e.marshal = m.marshal(false)
	e.dec, e.unmarshal = m.unmarshal()
	if no := r.apply(e, path); no != nil {
		return "", no
	}
	for _, used := range []*marshaler{e.marshal, e.unmarshal} {
		if no := r.promoted(t, used, path, e.name, from); no != nil {
			return "", no
		}
	}
	return e.enc, nil
}

// promoted refuses a method that a struct inherits from an embedded field if the struct has other fields.
func (r *reader) promoted(t types.Type, m *marshaler, path, name string, from position) *refusal {
	if len(m.index) == 1 {
		return nil
	}
	s, ok := t.Underlying().(*types.Struct)
	if !ok {
		return nil // of an interface
	}
	p := promotion{name: name, method: m.name, field: s.Field(m.index[0])}
	for i := range s.NumFields() {
		f := s.Field(i)
		if p.other == nil && f != p.field && f.Name() != "_" && !ir.ParseTag(s.Tag(i)).Skip && !holdsNothing(f.Type(), 0) {
			p.other = f
		}
	}
	restore := r.enter(p.field)
	if no := r.apply(p, path); no != nil {
		return no
	}
	defer restore()
	_, no := r.spellType(p.field.Type(), path+"."+p.field.Name(), from)
	return no
}

// key converts the key type of a map. It refuses a type whose keys don't decode to the encoded value.
func (r *reader) key(t types.Type, path string) (ir.Type, *refusal) {
	spelled, no := r.spellOnly(t, "a key of "+path)
	if no != nil || r.spelling {
		r.invalid = r.invalid || !types.Comparable(t) // the checker has reported that
		return spelled, no
	}
	if no := r.mapKey(t, path); no != nil {
		return ir.Type{}, no
	}
	return spelled, r.defineKey(spelled, t)
}

// mapKey refuses a key type by encoding/json's rules for keys. Strings are encoded as such, other keys by MarshalText
// of the value or as integers. A key type with UnmarshalText is decoded by that, or by UnmarshalJSON if it has both.
func (r *reader) mapKey(t types.Type, path string) *refusal {
	b, _ := t.Underlying().(*types.Basic)
	if b != nil && b.Kind() == types.Invalid {
		return nil
	}
	k := mapKey{
		methods: methodsOf(t), typ: t, name: r.typeString(t), standard: r.scanner.isStandard(t),
		isString: b != nil && b.Info()&types.IsString != 0, isInteger: b != nil && b.Info()&types.IsInteger != 0,
	}
	if no := r.apply(k, path); no != nil || !k.byValue() {
		return no
	}
	for _, used := range []*marshaler{k.marshalText, k.unmarshalText} {
		if no := r.promoted(t, used, path, k.name, inMap); no != nil {
			return no
		}
	}
	return nil
}

// defineKey adds the definition of a key type, unless it is already defined.
func (r *reader) defineKey(spelled ir.Type, t types.Type) *refusal {
	id := spelled.ID()
	if _, known := r.pkg.Defs[id]; known || spelled.Kind != ir.Named {
		return nil
	}
	if alias, ok := t.(*types.Alias); ok {
		target, no := r.spellOnly(alias.Rhs(), id)
		if no != nil {
			return no
		}
		r.pkg.Defs[id] = ir.Def{Underlying: &target}
		return r.defineKey(target, alias.Rhs())
	}
	m := methodsOf(t)
	switch {
	case m.marshalJSON != nil && m.unmarshalJSON != nil, r.scanner.isStandard(t) && r.typeString(t) == jsonNumber:
		r.pkg.Defs[id] = ir.Def{Encoding: ir.EncodingJSON}
	case m.marshalText != nil && m.unmarshalText != nil:
		r.pkg.Defs[id] = ir.Def{Encoding: ir.EncodingText}
	default:
		under, no := r.spellOnly(t.Underlying(), id)
		if no != nil {
			return no
		}
		r.pkg.Defs[id] = ir.Def{Underlying: &under}
	}
	return nil
}
