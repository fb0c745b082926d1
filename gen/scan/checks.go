package scan

import (
	"go/types"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// A check reports whether a value of one of the types below breaks a rule. It returns the arguments of the rule's
// message that follow the path. The value doesn't break any earlier rule that rejects it.
type check func(found any) (args []any, broken bool)

// with returns a check for values of one type.
func with[T any](broken func(T) bool, args func(T) []any) check {
	return func(found any) ([]any, bool) {
		if f, ok := found.(T); ok && broken(f) {
			return args(f), true
		}
		return nil, false
	}
}

// when returns a check whose message has only the path.
func when[T any](broken func(T) bool) check {
	return with(broken, func(T) []any { return nil })
}

// either returns a check that combines two.
func either(a, b check) check {
	return func(found any) ([]any, bool) {
		if args, broken := a(found); broken {
			return args, true
		}
		return b(found)
	}
}

// apply checks a value at a path by all rules. It returns the first refusal. Without one, it records the warnings.
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

// The types of values that rules check.
type (
	// A sentType is a type as written in the source.
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
	// An ownEncoding is a type with its own encoding at a position.
	ownEncoding struct {
		methods
		name               string
		from               position
		enc, dec           string
		marshal, unmarshal *marshaler
	}
	// A promotion is a method that a struct inherits from an embedded field. other is another field that is sent, or nil.
	promotion struct {
		name, method string
		field, other *types.Var
	}
	// An unnamedStruct has the methods of an anonymous struct type.
	unnamedStruct struct{ methods }
	// A structField is a field of a struct with its treatment by encoding/json.
	structField struct {
		*types.Var
		sentField
		reader *reader
		owner  types.Type
	}
	// A clash is two members with the same name. The first one wins, or none.
	clash struct {
		name          string
		first, second sentName
	}
	// A selfEmbedding is a struct that embeds itself.
	selfEmbedding struct{ name string }
	// An unnamedParameter is an unnamed parameter. Numbers begin at 1.
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

// isUniversal reports whether a type is predeclared and named: error or comparable.
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

// byValue reports whether keys are encoded by MarshalText. byPointer reports whether MarshalText has a pointer
// receiver, so it isn't called. Strings are encoded without MarshalText.
func (k mapKey) byValue() bool   { return !k.isString && k.marshalText != nil && k.marshalText.value }
func (k mapKey) byPointer() bool { return !k.isString && k.marshalText != nil && !k.marshalText.value }

// encodingInMap returns the encoding of the value in a map.
func (e ownEncoding) encodingInMap() string {
	enc, _ := e.methods.marshal(true)
	return enc
}

// lost reports whether a field is not sent although its values may differ.
func (f structField) lost() bool {
	return f.skip && !f.tag.Skip && f.Name() != "_" && !holdsNothing(f.Type(), 0)
}

// isUsers reports whether the field is declared in the user's code.
func (f structField) isUsers() bool {
	return f.Pkg() != nil && f.reader.scanner.isUsers(f.Pkg().Path())
}

// sentAsNamed reports whether a field is sent with the name of its tag or its own.
func (f structField) sentAsNamed() bool {
	return !f.skip && (f.Exported() || !isPointer(f.Type()) && f.tag.Given == "") &&
		f.tag.Given == f.tag.Name && f.badOption() == ""
}

// badOption returns a tag option that some versions of encoding/json ignore, or "".
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

// ownerName returns the name of the struct type for a message.
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

// counterpart returns the name of the method for an encoding: verb is Marshal or Unmarshal.
func counterpart(encoding, verb string) string {
	if encoding == ir.EncodingJSON {
		return verb + "JSON"
	}
	return verb + "Text"
}
