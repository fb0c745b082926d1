package contract

import (
	"fmt"
	"go/token"
	"go/types"
	"strconv"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// defs converts the types of a contract to the intermediate representation. It returns an error if a type is invalid,
// for example because the file was edited.
func (c Contract) defs() (*ir.Package, error) {
	p := &ir.Package{Path: c.Package, Defs: map[string]ir.Def{}}
	for name, described := range c.Types {
		t, err := c.parse(name)
		if err != nil {
			return nil, err
		}
		def := ir.Def{Encoding: described.Encoding}
		if described.Underlying != "" {
			under, err := c.parse(described.Underlying)
			if err != nil {
				return nil, err
			}
			def.Underlying = &under
		}
		for _, embedded := range described.Embeds {
			e, err := c.parse(embedded)
			if err != nil {
				return nil, err
			}
			def.Members = append(def.Members, ir.Member{Type: e})
		}
		for member, m := range described.Members {
			e, err := c.parse(m.Type)
			if err != nil {
				return nil, err
			}
			def.Members = append(def.Members, ir.Member{Name: member, Optional: m.Optional, Quoted: m.Quoted, Type: e})
		}
		if id := t.ID(); id == "encoding/json.Number" || id == "encoding/json.RawMessage" {
			def = ir.Def{Encoding: ir.EncodingJSON} // older versions of afgen, and other versions of Go, describe it differently
		}
		p.Defs[t.ID()] = def
	}
	return p, nil
}

// parse parses a type of a contract.
func (c Contract) parse(spelled string) (ir.Type, error) {
	p := parser{contract: c, rest: spelled}
	t, err := p.typ()
	if err == nil && p.rest != "" {
		err = fmt.Errorf("unexpected %q", p.rest)
	}
	if err != nil {
		return ir.Type{}, fmt.Errorf("contract of %s: type %q: %w", c.Package, spelled, err)
	}
	return t, nil
}

// A parser parses one type.
type parser struct {
	contract Contract
	rest     string
	depth    int
}

func (p *parser) skip(prefix string) bool {
	rest, ok := strings.CutPrefix(p.rest, prefix)
	p.rest = rest
	return ok
}

func (p *parser) typ() (ir.Type, error) {
	if p.depth++; p.depth > 200 {
		return ir.Type{}, fmt.Errorf("nested too deeply")
	}
	defer func() { p.depth-- }()
	switch {
	case p.skip("*"):
		return p.around(ir.Type{Kind: ir.Pointer})
	case p.skip("[]"):
		return p.around(ir.Type{Kind: ir.Slice})
	case p.skip("map["):
		key, err := p.typ()
		if err != nil {
			return key, err
		}
		if !p.skip("]") {
			return key, fmt.Errorf("missing ] after the key of a map")
		}
		return p.around(ir.Type{Kind: ir.Map, Key: &key})
	case p.skip("["):
		n, rest, _ := strings.Cut(p.rest, "]")
		length, err := strconv.ParseInt(n, 10, 64)
		if err != nil {
			return ir.Type{}, err
		}
		p.rest = rest
		return p.around(ir.Type{Kind: ir.Array, Len: length})
	case p.skip("struct{"):
		return p.fields()
	case p.skip("interface{}"):
		return ir.Type{Kind: ir.Any, Name: "interface{}"}, nil
	}
	return p.name()
}

func (p *parser) around(outer ir.Type) (ir.Type, error) {
	elem, err := p.typ()
	outer.Elem = &elem
	return outer, err
}

// word consumes the text up to a character that ends a name.
func (p *parser) word() string {
	i := strings.IndexAny(p.rest, "[],; }\"")
	if i < 0 {
		i = len(p.rest)
	}
	word := p.rest[:i]
	p.rest = p.rest[i:]
	return word
}

func (p *parser) name() (ir.Type, error) {
	word := p.word()
	if word == "" {
		return ir.Type{}, fmt.Errorf("missing type at %q", p.rest)
	}
	if !token.IsIdentifier(word[strings.LastIndexByte(word, '.')+1:]) {
		return ir.Type{}, fmt.Errorf("%q is not a type name", word)
	}
	if i := strings.LastIndexByte(word, '.'); i >= 0 {
		return p.args(ir.Type{Kind: ir.Named, Path: word[:i], Name: word[i+1:]})
	}
	_, own := p.contract.Types[word]
	switch {
	case own:
	case word == "any":
		return ir.Type{Kind: ir.Any, Name: word}, nil
	case types.Universe.Lookup(word) != nil:
		return ir.Type{Kind: ir.Basic, Name: word}, nil
	}
	return p.args(ir.Type{Kind: ir.Named, Path: p.contract.Package, Name: word})
}

// args parses the type arguments of a named type, if any.
func (p *parser) args(t ir.Type) (ir.Type, error) {
	if !p.skip("[") {
		return t, nil
	}
	for {
		a, err := p.typ()
		if err != nil {
			return t, err
		}
		t.Args = append(t.Args, a)
		switch {
		case p.skip(", "):
		case p.skip("]"):
			return t, nil
		default:
			return t, fmt.Errorf("unterminated type arguments at %q", p.rest)
		}
	}
}

// fields parses an anonymous struct.
func (p *parser) fields() (ir.Type, error) {
	t := ir.Type{Kind: ir.Struct}
	for !p.skip("}") {
		f, err := p.field()
		if err != nil {
			return t, err
		}
		t.Fields = append(t.Fields, f)
		if !p.skip("; ") && !strings.HasPrefix(p.rest, "}") {
			return t, fmt.Errorf("unterminated struct at %q", p.rest)
		}
	}
	return t, nil
}

// field parses "name type tag", or "type tag" for an embedded field.
func (p *parser) field() (ir.Field, error) {
	before := p.rest
	f := ir.Field{Name: p.word()}
	if !p.skip(" ") || strings.HasPrefix(p.rest, `"`) || strings.HasPrefix(before, "*") {
		p.rest, f.Embedded = before, true
	}
	var err error
	if f.Type, err = p.typ(); err != nil {
		return f, err
	}
	if f.Embedded {
		inner := f.Type
		if inner.Kind == ir.Pointer {
			inner = *inner.Elem
		}
		f.Name = inner.Name
	}
	if !strings.HasPrefix(p.rest, ` "`) {
		return f, nil
	}
	quoted, err := strconv.QuotedPrefix(p.rest[1:])
	if err != nil {
		return f, err
	}
	p.rest = p.rest[1+len(quoted):]
	f.Tag, err = strconv.Unquote(quoted)
	return f, err
}
