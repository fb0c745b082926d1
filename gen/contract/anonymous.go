package contract

import (
	"go/token"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/afgen/afgen/gen/ir"
)

// membersOf returns what encoding/json sends of t, an anonymous struct. Those of named structs are in Defs already.
func membersOf(p *ir.Package, t ir.Type) []ir.Member {
	var members []ir.Member
	for _, f := range t.Fields {
		if m, ok := memberOf(p, f); ok {
			members = append(members, m)
		}
	}
	return members
}

// memberOf follows the rules of encoding/json: ok is false where f isn't sent.
func memberOf(p *ir.Package, f ir.Field) (m ir.Member, ok bool) {
	tag := reflect.StructTag(f.Tag).Get("json")
	name, rest, _ := strings.Cut(tag, ",")
	options := strings.Split(rest, ",")
	promotes := f.Embedded && isStruct(p, f.Type)
	if tag == "-" || !token.IsExported(f.Name) && !promotes {
		return ir.Member{}, false
	}
	m = ir.Member{
		Optional: slices.Contains(options, "omitempty") || slices.Contains(options, "omitzero"),
		Quoted:   slices.Contains(options, "string") && isScalar(p, f.Type),
		Type:     f.Type,
	}
	switch {
	case isName(name):
		m.Name = name
	case !promotes:
		m.Name = f.Name
	}
	return m, true
}

// isName says whether encoding/json takes name from a tag.
func isName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

// isStruct says whether an embedded t is a struct or points to one.
func isStruct(p *ir.Package, t ir.Type) bool {
	if t.Kind == ir.Pointer {
		t = *t.Elem
	}
	t = underlying(p, t)
	return t.Kind == ir.Struct || t.Kind == ir.Named
}

// isScalar says whether the string option has an effect on t.
func isScalar(p *ir.Package, t ir.Type) bool {
	if t.Kind == ir.Pointer {
		t = *t.Elem
	}
	return underlying(p, t).Kind == ir.Basic
}

// underlying looks through the names of t. Only structs and types that marshal themselves keep theirs.
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
