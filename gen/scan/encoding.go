package scan

import (
	"go/types"

	"github.com/afgen/afgen/gen/ir"
)

// A marshaler is a method by which encoding/json lets a type encode or decode itself.
type marshaler struct {
	name    string
	index   []int // of the fields that it is promoted from, and its own
	pointer bool  // of its receiver
	value   bool  // it is in the method set of the value, not only of the pointer
}

// methods are the marshalers of a type, nil for those that it doesn't have.
type methods struct {
	marshalJSON, unmarshalJSON, marshalText, unmarshalText *marshaler
}

// methodsOf looks for the methods of t and of a pointer to it.
func methodsOf(t types.Type) methods {
	t = types.Unalias(t)
	named, _ := t.(*types.Named)
	s, isStruct := t.Underlying().(*types.Struct)
	if embeds := isStruct && hasEmbedded(s); !embeds && (named == nil || named.NumMethods() == 0) {
		return methods{} // most types: there is nothing to look up
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

// none reports whether a type leaves its encoding to encoding/json.
func (m methods) none() bool { return m == methods{} }

// any returns the name of one of the methods that there are.
func (m methods) any() string {
	for _, one := range []*marshaler{m.marshalJSON, m.marshalText, m.unmarshalJSON, m.unmarshalText} {
		if one != nil {
			return one.name
		}
	}
	return ""
}

// marshal returns the method that encodes a value; where its address can't be taken, inValue is set.
func (m methods) marshal(inValue bool) (string, *marshaler) {
	switch {
	case m.marshalJSON != nil && (m.marshalJSON.value || !inValue):
		return ir.EncodingJSON, m.marshalJSON
	case m.marshalText != nil && (m.marshalText.value || !inValue):
		return ir.EncodingText, m.marshalText
	}
	return "", nil
}

// unmarshal returns the method that decodes a value. Encoding/json takes the address of all that it decodes.
func (m methods) unmarshal() (string, *marshaler) {
	switch {
	case m.unmarshalJSON != nil:
		return ir.EncodingJSON, m.unmarshalJSON
	case m.unmarshalText != nil:
		return ir.EncodingText, m.unmarshalText
	}
	return "", nil
}

// encoding returns how the values of a defined type encode themselves at a position, "" if they don't. It refuses a type
// whose methods don't undo each other.
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

// promoted refuses a method that a struct has from an embedded field, unless that is all there is to the struct.
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

// key converts the key of a map, and refuses one that encoding/json doesn't read as it writes it.
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

// mapKey refuses a key by encoding/json's rules for keys: strings are written as they are, all others by MarshalText of
// the value or as an integer. A pointer to a key with UnmarshalText reads it, by UnmarshalJSON if it has that, too.
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

// defineKey describes the type of a key, unless it has been described as that of a value.
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
