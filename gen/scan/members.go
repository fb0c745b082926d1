package scan

import (
	"go/types"

	"github.com/afgen/afgen/gen/ir"
)

// A sentField describes how encoding/json treats a field.
type sentField struct {
	tag      ir.Tag
	skip     bool // it is not sent
	promoted bool // it is an embedded struct whose members are sent as members of the outer one
}

// field classifies a field of a struct of type owner, and refuses one whose value would be lost.
func (r *reader) field(s *types.Struct, i int, owner types.Type, path string) (sentField, *refusal) {
	f := s.Field(i)
	structural := isStruct(f.Type())
	out := sentField{tag: ir.ParseTag(s.Tag(i))}
	out.skip = out.tag.Skip || f.Name() == "_" || !f.Exported() && !(f.Embedded() && structural)
	out.promoted = !out.skip && f.Embedded() && structural && out.tag.Name == ""
	return out, r.apply(structField{f, out, r, owner}, path)
}

// structMembers converts the fields of a struct of type owner that encoding/json sends.
func (r *reader) structMembers(s *types.Struct, owner types.Type, path string, from position) ([]ir.Member, *refusal) {
	var members []ir.Member
	for i := range s.NumFields() {
		f := s.Field(i)
		at := path + "." + f.Name()
		restore := r.enter(f)
		sent, no := r.field(s, i, owner, at)
		if no != nil {
			return nil, no
		}
		if sent.skip {
			restore()
			continue
		}
		t, no := r.spellType(f.Type(), at, from)
		if no != nil {
			return nil, no
		}
		restore()
		m := ir.Member{
			Name: sent.tag.Name, Type: t, Optional: sent.tag.Optional, Quoted: sent.tag.Quoted && isScalar(f.Type()),
		}
		if m.Name == "" && !sent.promoted {
			m.Name = f.Name()
		}
		members = append(members, m)
	}
	return members, r.names(s, owner, path)
}

// anonymous converts an anonymous struct. Its unexported fields are not sent, but they are part of its type.
func (r *reader) anonymous(s *types.Struct, path string, from position) (ir.Type, *refusal) {
	if !r.spelling {
		if no := r.apply(unnamedStruct{methodsOf(s)}, path); no != nil {
			return ir.Type{}, no
		}
	}
	out := ir.Type{Kind: ir.Struct}
	for i := range s.NumFields() {
		f := s.Field(i)
		at := path + "." + f.Name()
		restore := r.enter(f)
		sent, no := r.field(s, i, s, at)
		if no != nil && !r.spelling {
			return ir.Type{}, no
		}
		spell := func() (ir.Type, *refusal) { return r.spellType(f.Type(), at, from) }
		if sent.skip {
			spell = func() (ir.Type, *refusal) { return r.spellOnly(f.Type(), at) }
		}
		t, no := spell()
		if no != nil {
			return ir.Type{}, no
		}
		restore()
		out.Fields = append(out.Fields, ir.Field{Name: f.Name(), Embedded: f.Embedded(), Tag: s.Tag(i), Type: t})
	}
	if r.spelling {
		return out, nil
	}
	return out, r.names(s, s, path)
}

// enter sets the position of refusals to a field, if the user's code declares it. For a field of a generic type's
// instance, it keeps the position, because the type argument is the cause. restore sets the old position, and need not
// be called after a refusal.
func (r *reader) enter(f *types.Var) (restore func()) {
	before := r.at
	if f.Pkg() != nil && f.Origin() == f && r.scanner.isUsers(f.Pkg().Path()) {
		r.at = f.Pos()
	}
	return func() { r.at = before }
}

// A sentName is a member of a struct or of a struct embedded in it.
type sentName struct {
	field  *types.Var
	path   string
	depth  int
	tagged bool
}

// names refuses members with the same name, because encoding/json sends at most one of them.
func (r *reader) names(s *types.Struct, owner types.Type, path string) *refusal {
	plain := true // if there are no tags or embedded fields, names differ
	for i := range s.NumFields() {
		plain = plain && !s.Field(i).Embedded() && s.Tag(i) == ""
	}
	if plain {
		return nil
	}
	n := namer{
		reader: r, owner: owner,
		sent: map[string]sentName{}, open: map[types.Type]bool{}, empty: map[types.Type]bool{},
	}
	_, no := n.add(s, path, 0)
	return no
}

// A namer collects the members of one struct.
type namer struct {
	*reader
	owner types.Type
	sent  map[string]sentName
	open  map[types.Type]bool // embedded structs that add is in
	empty map[types.Type]bool // embedded structs without members
}

// add collects the members of s and returns how many there are.
func (n *namer) add(s *types.Struct, path string, depth int) (count int, no *refusal) {
	for i := range s.NumFields() {
		f := s.Field(i)
		at := path + "." + f.Name()
		sent, no := n.field(s, i, n.owner, at)
		switch t := pointed(f.Type()); {
		case no != nil:
			return 0, no
		case sent.skip || sent.promoted && n.empty[t]:
		case sent.promoted && n.open[t]:
			n.enter(f)
			return 0, n.apply(selfEmbedding{n.typeString(t)}, at)
		case sent.promoted:
			n.open[t] = true
			brought, no := n.add(t.Underlying().(*types.Struct), at, depth+1)
			if no != nil {
				return 0, no
			}
			delete(n.open, t)
			n.empty[t] = brought == 0
			count += brought
		default:
			count++
			this := sentName{f, at, depth, sent.tag.Name != ""}
			name := sent.tag.Name
			if name == "" {
				name = f.Name()
			}
			if other, clash := n.sent[name]; clash {
				return 0, n.clash(name, other, this)
			}
			n.sent[name] = this
		}
	}
	return count, nil
}

// clash refuses two members with the same name.
func (n *namer) clash(name string, a, b sentName) *refusal {
	if a.depth > b.depth || a.depth == b.depth && !a.tagged && b.tagged {
		a, b = b, a
	}
	n.enter(b.field)
	return n.apply(clash{name, a, b}, b.path)
}

// isStruct reports whether t is a struct or a pointer to one.
func isStruct(t types.Type) bool {
	_, ok := pointed(t).Underlying().(*types.Struct)
	return ok
}

func isPointer(t types.Type) bool {
	_, ok := types.Unalias(t).(*types.Pointer)
	return ok
}

// pointed returns the element type of an unnamed pointer, or t.
func pointed(t types.Type) types.Type {
	t = types.Unalias(t)
	if p, ok := t.(*types.Pointer); ok {
		return types.Unalias(p.Elem())
	}
	return t
}

// isScalar reports whether the string option has an effect on t.
func isScalar(t types.Type) bool {
	b, ok := pointed(t).Underlying().(*types.Basic)
	return ok && b.Info()&(types.IsBoolean|types.IsNumeric|types.IsString) != 0 && b.Info()&types.IsComplex == 0
}

// holdsNothing reports whether all values of t are equal.
func holdsNothing(t types.Type, depth int) bool {
	if depth == maxDepth {
		return false
	}
	switch u := t.Underlying().(type) {
	case *types.Struct:
		for f := range u.Fields() {
			if !holdsNothing(f.Type(), depth+1) {
				return false
			}
		}
		return true
	case *types.Array:
		return u.Len() == 0 || holdsNothing(u.Elem(), depth+1)
	case *types.Basic:
		return u.Kind() == types.Invalid // the checker reports it
	}
	return false
}
