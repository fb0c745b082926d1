package contract

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// A change is a difference between the JSON of two types. Names of types and pointers don't matter.
type change struct {
	kind     changeKind
	path     string // from the compared type, such as ".items[].price"; "" is the type itself
	from, to string // types, if relevant
}

type changeKind int

const (
	retyped changeKind = iota
	removed
	added // and not optional
)

// A differ compares types of an older contract and the current code.
type differ struct {
	old, now *ir.Package
	changes  []change
	seen     map[string]bool
}

// differences returns the changes from one type to another, sorted by path.
func differences(old, now *ir.Package, o, n ir.Type) []change {
	d := &differ{old: old, now: now, seen: map[string]bool{}}
	d.compareTypes(o, n, "")
	slices.SortStableFunc(d.changes, func(a, b change) int { return strings.Compare(a.path, b.path) })
	return d.changes
}

// sameWire reports whether there are no differences.
func sameWire(old, now *ir.Package, o, n ir.Type) bool { return len(differences(old, now, o, n)) == 0 }

func (d *differ) compareTypes(o, n ir.Type, path string) {
	o, n = resolveNames(d.old, o), resolveNames(d.now, n)
	pair := o.ID() + " " + n.ID()
	if d.seen[pair] {
		return // compared before, or recursive
	}
	d.seen[pair] = true
	was, isStruct := structMembers(d.old, o)
	is, stillStruct := structMembers(d.now, n)
	switch {
	case isStruct && stillStruct:
		d.compareMembers(was, is, path)
	case isStruct || stillStruct || o.Kind != n.Kind || o.Len != n.Len:
		d.addRetyped(o, n, path)
	case o.Kind == ir.Named: // types with their own encoding, or without a definition
		if o.ID() != n.ID() || d.old.Defs[o.ID()].Encoding != d.now.Defs[n.ID()].Encoding {
			d.addRetyped(o, n, path)
		}
	case o.Kind == ir.Basic:
		if basic(o.Name) != basic(n.Name) {
			d.addRetyped(o, n, path)
		}
	case o.Kind == ir.Map:
		if !sameWire(d.old, d.now, *o.Key, *n.Key) {
			d.addRetyped(o, n, path)
			return
		}
		d.compareTypes(*o.Elem, *n.Elem, path+"[]")
	case o.Elem != nil:
		d.compareTypes(*o.Elem, *n.Elem, path+"[]")
	}
}

func (d *differ) addRetyped(o, n ir.Type, path string) {
	d.changes = append(d.changes, change{retyped, path, spelling(d.old, o), spelling(d.now, n)})
}

func (d *differ) compareMembers(was, is map[string]ir.Member, path string) {
	for _, name := range slices.Sorted(maps.Keys(was)) {
		at := path + "." + name
		o, n := was[name], is[name]
		switch _, still := is[name]; {
		case !still:
			d.changes = append(d.changes, change{removed, at, spelling(d.old, o.Type), ""})
		case o.Quoted != n.Quoted:
			from, to := spelling(d.old, o.Type)+inString(o), spelling(d.now, n.Type)+inString(n)
			d.changes = append(d.changes, change{retyped, at, from, to})
		default:
			d.compareTypes(o.Type, n.Type, at)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if _, old := was[name]; !old && !is[name].Optional {
			d.changes = append(d.changes, change{added, path + "." + name, "", spelling(d.now, is[name].Type)})
		}
	}
}

func inString(m ir.Member) string {
	if m.Quoted {
		return " in a string"
	}
	return ""
}

// spelling returns a type as Go source in the package p.
func spelling(p *ir.Package, t ir.Type) string { return speller{pkg: p}.spelling(t) }

// resolveNames resolves pointers, and names except those of structs and types with their own encoding.
func resolveNames(p *ir.Package, t ir.Type) ir.Type {
	for range 100 { // pointers to themselves are infinite
		switch {
		case t.Kind == ir.Pointer:
			t = *t.Elem
		case t.Kind == ir.Named && p.Defs[t.ID()].Underlying != nil:
			t = *p.Defs[t.ID()].Underlying
		default:
			return t
		}
	}
	return t
}

// structMembers returns the members of a struct by name, including those of embedded structs. It reports false for
// other types.
func structMembers(p *ir.Package, t ir.Type) (map[string]ir.Member, bool) {
	members, ok := membersIn(p, t)
	if !ok {
		return nil, false
	}
	all := map[string]ir.Member{}
	promote(p, members, all, 0)
	return all, true
}

// membersIn returns the declared members of a struct.
func membersIn(p *ir.Package, t ir.Type) ([]ir.Member, bool) {
	if t.Kind == ir.Struct {
		return membersOf(p, t), true
	}
	def, known := p.Defs[t.ID()]
	if t.Kind != ir.Named || !known || def.Encoding != "" {
		return nil, false
	}
	return def.Members, true
}

// promote adds members to all. Outer members hide those of embedded structs.
func promote(p *ir.Package, members []ir.Member, all map[string]ir.Member, depth int) {
	if depth > 20 {
		return // a struct that embeds a pointer to itself
	}
	for _, m := range members {
		if _, hidden := all[m.Name]; m.Name != "" && !hidden {
			all[m.Name] = m
		}
	}
	for _, m := range members {
		if m.Name == "" {
			inner, _ := membersIn(p, resolveNames(p, m.Type))
			promote(p, inner, all, depth+1)
		}
	}
}

// String returns a phrase for a message, after the name of the compared type.
func (c change) String() string {
	at := strings.TrimPrefix(c.path, ".")
	switch {
	case c.kind == removed:
		return fmt.Sprintf("field %s (%s) was removed", at, c.from)
	case c.kind == added:
		return fmt.Sprintf("field %s (%s) was added and is not optional", at, c.to)
	case at == "":
		return fmt.Sprintf("type changed from %s to %s", c.from, c.to)
	case strings.Contains(at, ".") || strings.HasPrefix(c.path, "."):
		return fmt.Sprintf("field %s changed from %s to %s", at, c.from, c.to)
	}
	return fmt.Sprintf("element type changed from %s to %s", c.from, c.to)
}
