package scan

import (
	"go/types"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// A check decides whether something that a reader has come to breaks a rule, and returns the arguments of the rule's message
// after the path. It may rely on the refusals before it in the table: they have not been broken by the same thing.
type check func(found any) (args []any, broken bool)

// with makes a check for what is of one type.
func with[T any](broken func(T) bool, args func(T) []any) check {
	return func(found any) ([]any, bool) {
		if f, ok := found.(T); ok && broken(f) {
			return args(f), true
		}
		return nil, false
	}
}

// when makes a check whose message has nothing but the path.
func when[T any](broken func(T) bool) check {
	return with(broken, func(T) []any { return nil })
}

// either makes a check that is broken if one of two is.
func either(a, b check) check {
	return func(found any) ([]any, bool) {
		if args, broken := a(found); broken {
			return args, true
		}
		return b(found)
	}
}

// apply checks all rules on something at a path. It returns the first refusal. If there is none, it notes the warnings.
func (r *reader) apply(found any, path string) *refusal {
	var warnings []refusal
	for i := range rules {
		args, broken := rules[i].check(found)
		switch {
		case !broken:
		case rules[i].warns():
			warnings = append(warnings, *r.refuse(&rules[i], path, args...))
		default:
			return r.refuse(&rules[i], path, args...)
		}
	}
	if !r.spelling {
		r.warnings = append(r.warnings, warnings...)
	}
	return nil
}

// These are the things that rules are about.
type (
	// A sentType is a type as it is spelled.
	sentType struct {
		reader *reader
		typ    types.Type
	}
	// A nesting is a named type inside others.
	nesting struct {
		typ   types.Type
		depth int
	}
	// A mapKey is the type of a map's keys.
	mapKey struct {
		methods
		typ                 types.Type
		name                string
		isString, isInteger bool
		standard            bool
	}
	// An ownEncoding is a type that encodes or decodes itself, at a position: how, and by which methods.
	ownEncoding struct {
		methods
		name               string
		from               position
		enc, dec           string
		marshal, unmarshal *marshaler
	}
	// A promotion is a method that a struct has from an embedded field. Other is another field that is sent; nil if there is
	// none.
	promotion struct {
		name, method string
		field, other *types.Var
	}
	// An unnamedStruct is a struct type without a name, by its methods.
	unnamedStruct struct{ methods }
	// A structField is a field of a struct, and what encoding/json makes of it.
	structField struct {
		*types.Var
		sentField
		reader *reader
		owner  types.Type
	}
	// A clash is two members of one name, of which the first wins, or none.
	clash struct {
		name          string
		first, second sentName
	}
	// A selfEmbedding is a struct that embeds itself.
	selfEmbedding struct{ name string }
	// An unnamedParameter is a parameter without a name, by its number from 1.
	unnamedParameter struct {
		method string
		number int
	}
)

func is[T types.Type](t types.Type) bool {
	_, ok := t.(T)
	return ok
}

// isAny reports whether a type is written any or interface{}.
func isAny(t types.Type) bool {
	switch t := t.(type) {
	case *types.Alias:
		return t.Obj().Pkg() == nil
	case *types.Interface:
		return t.Empty()
	}
	return false
}

// isUniversal reports whether a type is predeclared and has methods: error, or comparable.
func isUniversal(t types.Type) bool {
	n, ok := t.(*types.Named)
	return ok && n.Obj().Pkg() == nil
}

// isNamedContext reports whether a type is written context.Context.
func isNamedContext(t types.Type) bool {
	n, ok := t.(interface{ Obj() *types.TypeName })
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == "context" && n.Obj().Name() == "Context"
}

func isComplex(t types.Type) bool {
	b, ok := t.(*types.Basic)
	return ok && b.Info()&types.IsComplex != 0
}

func isUnsafePointer(t types.Type) bool {
	b, ok := t.(*types.Basic)
	return ok && b.Kind() == types.UnsafePointer
}

func (t sentType) spelled() string { return t.reader.typeString(t.typ) }

// byValue reports whether a key is written by the MarshalText of its value, and byPointer whether it has that method but
// only for its address, which can't be taken. Strings are written as they are.
func (k mapKey) byValue() bool   { return !k.isString && k.marshalText != nil && k.marshalText.value }
func (k mapKey) byPointer() bool { return !k.isString && k.marshalText != nil && !k.marshalText.value }

// encodingInMap returns how the value would encode itself in a map.
func (e ownEncoding) encodingInMap() string {
	enc, _ := e.methods.marshal(true)
	return enc
}

// lost reports whether a field is not sent although it can hold something.
func (f structField) lost() bool {
	return f.skip && !f.tag.Skip && f.Name() != "_" && !holdsNothing(f.Type(), 0)
}

// isUsers reports whether the field is declared in the user's code.
func (f structField) isUsers() bool {
	return f.Pkg() != nil && f.reader.scanner.isUsers(f.Pkg().Path())
}

// sentAsNamed reports whether a field is sent, under the name that its tag or the field gives it.
func (f structField) sentAsNamed() bool {
	return !f.skip && (f.Exported() || !isPointer(f.Type()) && f.tag.Given == "") && f.tag.Given == f.tag.Name && f.badOption() == ""
}

// badOption returns an option of a field's tag that some versions of encoding/json ignore; "" if there is none.
func (f structField) badOption() string {
	for _, option := range f.tag.Options {
		name, _, _ := strings.Cut(option, ":")
		if name == "unknown" || name == "format" || name == "inline" && !f.promoted {
			return option
		}
	}
	return ""
}

func (f structField) typeName() string { return f.reader.typeString(f.Type()) }

// ownerName spells the type of the struct in a message.
func (f structField) ownerName() string {
	if _, anonymous := f.owner.(*types.Struct); anonymous {
		return "the struct"
	}
	return f.reader.typeString(f.owner)
}

// even reports whether neither of two members wins.
func (c clash) even() bool {
	return c.first.depth == c.second.depth && c.first.tagged == c.second.tagged
}

// counterpart returns the name of the method that undoes an encoding, or makes it.
func counterpart(encoding, verb string) string {
	if encoding == ir.EncodingJSON {
		return verb + "JSON"
	}
	return verb + "Text"
}
