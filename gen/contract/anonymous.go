package contract

import (
	"go/token"

	"github.com/afgen/afgen/gen/ir"
)

// membersOf returns the members of t, an anonymous struct, that encoding/json sends.
func membersOf(p *ir.Package, t ir.Type) []ir.Member {
	var members []ir.Member
	for _, f := range t.Fields {
		if m, ok := memberOf(p, f); ok {
			members = append(members, m)
		}
	}
	return members
}

// memberOf returns the member of a field. ok is false if encoding/json doesn't send it.
func memberOf(p *ir.Package, f ir.Field) (m ir.Member, ok bool) {
	tag := ir.ParseTag(f.Tag)
	promotes := f.Embedded && isStruct(p, f.Type)
	if tag.Skip || !token.IsExported(f.Name) && !promotes {
		return ir.Member{}, false
	}
	m = ir.Member{Name: tag.Name, Optional: tag.Optional, Quoted: tag.Quoted && isScalar(p, f.Type), Type: f.Type}
	if m.Name == "" && !promotes {
		m.Name = f.Name
	}
	return m, true
}

// isStruct reports whether t is a struct or a pointer to one.
func isStruct(p *ir.Package, t ir.Type) bool {
	if t.Kind == ir.Pointer {
		t = *t.Elem
	}
	t = underlying(p, t)
	return t.Kind == ir.Struct || t.Kind == ir.Named
}

// isScalar reports whether the string option has an effect on t.
func isScalar(p *ir.Package, t ir.Type) bool {
	if t.Kind == ir.Pointer {
		t = *t.Elem
	}
	t = underlying(p, t)
	return t.Kind == ir.Basic || t.Path == "encoding/json" && t.Name == "Number"
}

// underlying resolves the name of t, unless it is a struct or has its own encoding.
func underlying(p *ir.Package, t ir.Type) ir.Type {
	for t.Kind == ir.Named {
		def := p.Defs[t.ID()]
		if def.Underlying == nil {
			break
		}
		t = *def.Underlying
	}
	return t
}
