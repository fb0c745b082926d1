package ir

import (
	"slices"
	"strconv"
	"strings"
)

// ID returns t as Go source with full import paths, for example "example.com/shop.Page[example.com/shop.Item]". It
// identifies the type.
func (t Type) ID() string {
	return t.Spell(func(path, name string) string { return path + "." + name })
}

// Spell returns t as Go source. It calls qualify to format the import path and name of Named types.
func (t Type) Spell(qualify func(path, name string) string) string {
	switch { // the common cases need no builder
	case t.Kind == Basic, t.Kind == Any:
		return t.Name
	case t.Kind == Named && len(t.Args) == 0:
		return qualify(t.Path, t.Name)
	}
	var b strings.Builder
	t.spell(&b, qualify)
	return b.String()
}

func (t Type) spell(b *strings.Builder, qualify func(path, name string) string) {
	switch t.Kind {
	case Basic, Any:
		b.WriteString(t.Name)
	case Named:
		b.WriteString(qualify(t.Path, t.Name))
		for i, a := range t.Args {
			b.WriteString([]string{"[", ", "}[min(i, 1)])
			a.spell(b, qualify)
		}
		if len(t.Args) > 0 {
			b.WriteByte(']')
		}
	case Pointer:
		b.WriteByte('*')
		t.Elem.spell(b, qualify)
	case Slice:
		b.WriteString("[]")
		t.Elem.spell(b, qualify)
	case Array:
		b.WriteString("[" + strconv.FormatInt(t.Len, 10) + "]")
		t.Elem.spell(b, qualify)
	case Map:
		b.WriteString("map[")
		t.Key.spell(b, qualify)
		b.WriteByte(']')
		t.Elem.spell(b, qualify)
	case Struct:
		b.WriteString("struct{")
		for i, f := range t.Fields {
			if i > 0 {
				b.WriteString("; ")
			}
			if !f.Embedded {
				b.WriteString(f.Name + " ")
			}
			f.Type.spell(b, qualify)
			if f.Tag != "" {
				b.WriteString(" " + strconv.Quote(f.Tag))
			}
		}
		b.WriteByte('}')
	}
}

// Equal reports whether t and u have the same ID.
func (t Type) Equal(u Type) bool { return t.ID() == u.ID() }

// Walk calls visit for t and all types that its source contains. It doesn't follow Defs.
func (t Type) Walk(visit func(Type)) {
	visit(t)
	for _, a := range t.Args {
		a.Walk(visit)
	}
	for _, p := range []*Type{t.Key, t.Elem} {
		if p != nil {
			p.Walk(visit)
		}
	}
	for _, f := range t.Fields {
		f.Type.Walk(visit)
	}
}

// Mentioned returns the import paths of other packages that the signatures of p mention, sorted.
func (p *Package) Mentioned() []string {
	var paths []string
	p.Walk(func(t Type) {
		if t.Kind == Named && t.Path != p.Path {
			paths = append(paths, t.Path)
		}
	})
	slices.Sort(paths)
	return slices.Compact(paths)
}

// Walk calls visit for all types in the signatures of p.
func (p *Package) Walk(visit func(Type)) {
	for _, s := range p.Services {
		for _, m := range s.Methods {
			for _, list := range [][]Param{m.Params, m.Results} {
				for _, q := range list {
					q.Type.Walk(visit)
				}
			}
		}
	}
	for _, w := range p.Workers {
		w.Payload.Walk(visit)
		if w.Result != nil {
			w.Result.Walk(visit)
		}
	}
}
