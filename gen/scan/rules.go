package scan

import (
	"go/types"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/ir"
)

// A rule is a reason to reject a type or to report a warning. The table in docs/generator.md is generated from the
// rules.
type rule struct {
	code    diag.Code
	about   string // the type, for the table; "" if the rule isn't in the table
	message string // a format for the path of the value and the arguments that the check returns
	why     string // for the table
	hint    string // may be a format for the same arguments
	fix     string // the hint for the table, if hint is a format
	check   check
}

// warns reports whether types that break the rule are accepted with a warning.
func (r *rule) warns() bool { return r.code == diag.LosesTypes || r.code == diag.UnnamedParameter }

const cannotBeSent = ", which can't be sent"

// rules has the rules in the order of the documentation. If a value breaks several, the first one that rejects it is
// reported. The slice is never modified.
var rules = []rule{
	// Accepted with a warning.
	{
		code: diag.LosesTypes, about: "`any`", message: "%s is of type any, so its values lose their Go types",
		why: "structs arrive as `map[string]any`, numbers as `float64`, " +
			"integers beyond ±2^53 as `int64`, `uint64` or `json.Number`",
		hint:  "use a concrete type, or json.RawMessage for values that are only passed on",
		check: when(func(t sentType) bool { return isAny(t.typ) }),
	},
	{
		code: diag.LosesTypes, about: "`big.Float`",
		message: "%s is a big.Float, which is decoded with a precision of 64 bits",
		why:     "it is decoded with a precision of 64 bits", hint: "send a big.Rat or its text",
		check: when(func(e ownEncoding) bool { return e.name == "big.Float" }),
	},
	{
		code: diag.UnnamedParameter, about: "unnamed parameter",
		message: "%[2]s: parameter %[3]d has no name and is called %[1]s on the wire",
		why:     "it is called by its position, so naming or moving it later breaks callers", hint: "give it a name",
		check: with(func(unnamedParameter) bool { return true },
			func(p unnamedParameter) []any { return []any{p.method, p.number} }),
	},

	// Types without a JSON form.
	{
		code: diag.CannotTravel, about: "channel", message: "%s is a channel" + cannotBeSent,
		why: "it has no JSON form", hint: "send the received values as a slice",
		check: when(func(t sentType) bool { return is[*types.Chan](t.typ) }),
	},
	{
		code: diag.CannotTravel, about: "func", message: "%s is a func" + cannotBeSent,
		why: "it has no JSON form", hint: "remove it, or tag the field `json:\"-\"`",
		check: when(func(t sentType) bool { return is[*types.Signature](t.typ) }),
	},
	{
		code: diag.CannotTravel, about: "complex number", message: "%s is a complex number" + cannotBeSent,
		why: "it has no JSON form", hint: "send two floats",
		check: when(func(t sentType) bool { return isComplex(t.typ) }),
	},
	{
		code: diag.CannotTravel, about: "`unsafe.Pointer`", message: "%s is an unsafe.Pointer" + cannotBeSent,
		why: "it has no JSON form", hint: "send the value that it points to",
		check: when(func(t sentType) bool { return isUnsafePointer(t.typ) }),
	},
	{
		code: diag.CannotTravel, about: "interface with methods", message: "%s is an interface" + cannotBeSent,
		why: "its dynamic type is not in the JSON", hint: "JSON doesn't contain the dynamic type: use a struct, or any",
		check: when(func(t sentType) bool { return is[*types.Interface](t.typ) && !isAny(t.typ) }),
	},
	{
		code: diag.CannotTravel, about: "`error`", message: "%s is an %s" + cannotBeSent,
		why: "its dynamic type is not in the JSON", hint: "send its text, or a struct with the details",
		check: with(func(t sentType) bool { return isUniversal(t.typ) },
			func(t sentType) []any { return []any{t.typ.(*types.Named).Obj().Name()} }),
	},
	{
		code: diag.CannotTravel, about: "`context.Context`, except as the first parameter",
		message: "%s is a context.Context" + cannotBeSent,
		why:     "it belongs to the call", hint: "a context may only be the first parameter",
		check: when(func(t sentType) bool { return isNamedContext(t.typ) }),
	},
	{
		code: diag.CannotTravel, message: "%s is of type %s" + cannotBeSent,
		check: with(func(t sentType) bool {
			return is[*types.TypeParam](t.typ) || is[*types.Tuple](t.typ) || is[*types.Union](t.typ)
		},
			func(t sentType) []any { return []any{t.spelled()} }),
	},
	{
		code: diag.CannotTravel, about: "infinite type: a generic type with ever larger instances of itself, `type P *P`",
		message: "%s is of an infinite type" + cannotBeSent,
		why:     "it can't be described",
		hint:    "use a type that is neither a pointer to itself nor contains ever larger instances of itself",
		check:   when(func(n nesting) bool { return n.depth == maxDepth || pointsToItself(n.typ) }),
	},

	// Keys of maps.
	{
		code: diag.CannotTravel, about: "map key that is not a string, integer or `TextMarshaler`",
		message: "%s is a map with keys of type %s" + cannotBeSent, why: "JSON keys are strings",
		hint: "JSON keys are strings: use a string, an integer or a type with MarshalText",
		check: with(func(k mapKey) bool {
			return types.IsInterface(k.typ) || !k.isString && !k.isInteger && k.marshalText == nil
		},
			func(k mapKey) []any { return []any{k.name} }),
	},
	{
		code: diag.CannotTravel, about: "map key of a string type with `UnmarshalText`",
		message: "%s is a map with keys of type %s, which are encoded as strings but decoded by UnmarshalText",
		why:     "keys of kind string are encoded without MarshalText, but decoded by UnmarshalText",
		hint:    "use string as the key, or a struct type with MarshalText and UnmarshalText",
		check: with(func(k mapKey) bool { return k.isString && k.unmarshalText != nil },
			func(k mapKey) []any { return []any{k.name} }),
	},
	{
		code: diag.CannotTravel, about: "map key whose `MarshalText` has a pointer receiver",
		message: "%s is a map with keys of type %s, whose MarshalText has a pointer receiver",
		why:     "the address of a key can't be taken, so the method is not called",
		hint:    "declare MarshalText with a value receiver",
		check: with(func(k mapKey) bool { return k.byPointer() && (k.unmarshalText != nil || !k.isInteger) },
			func(k mapKey) []any { return []any{k.name} }),
	},
	{
		code: diag.CannotTravel, about: "map key with one of `MarshalText` and `UnmarshalText`",
		message: "%s is a map with keys of type %s, which has %s but not %s", why: "keys don't decode to the encoded value",
		hint: "declare %[4]s on %[2]s", fix: "declare both methods",
		check: either(
			with(func(k mapKey) bool { return k.isInteger && k.marshalText == nil && k.unmarshalText != nil },
				func(k mapKey) []any { return []any{k.name, "UnmarshalText", "MarshalText"} }),
			with(func(k mapKey) bool { return k.byValue() && k.unmarshalText == nil },
				func(k mapKey) []any { return []any{k.name, "MarshalText", "UnmarshalText"} })),
	},
	{
		code:    diag.CannotTravel,
		about:   "map key with `UnmarshalText` and `UnmarshalJSON`, except those of the standard library",
		message: "%s is a map with keys of type %s, which are encoded by MarshalText but decoded by UnmarshalJSON",
		why:     "keys are encoded by `MarshalText`, but decoded by `UnmarshalJSON` if the type has it",
		hint:    "use string as the key, or a type without UnmarshalJSON",
		check: with(func(k mapKey) bool {
			return k.byValue() && k.unmarshalText != nil && k.unmarshalJSON != nil && !k.standard
		},
			func(k mapKey) []any { return []any{k.name} }),
	},

	// Types with their own encoding.
	{
		code:    diag.CannotTravel,
		about:   "type with `MarshalJSON` but not `UnmarshalJSON`, or `MarshalText` but not `UnmarshalText`",
		message: "%s: %s has %s but not %s, so it can't be decoded", why: "it can't be decoded",
		hint: "declare %[4]s on %[2]s", fix: "declare both methods",
		check: with(func(e ownEncoding) bool { return e.dec == "" || e.enc == ir.EncodingJSON && e.dec == ir.EncodingText },
			func(e ownEncoding) []any { return []any{e.name, e.marshal.name, counterpart(e.enc, "Unmarshal")} }),
	},
	{
		code:    diag.CannotTravel,
		about:   "type with `UnmarshalJSON` but not `MarshalJSON`, or `UnmarshalText` but not `MarshalText`",
		message: "%s: %s has %s but not %s, so its own encoding is only used to decode",
		why:     "its own encoding is only used to decode",
		hint:    "declare %[4]s on %[2]s", fix: "declare both methods",
		check: with(func(e ownEncoding) bool { return e.enc == "" || e.enc == ir.EncodingText && e.dec == ir.EncodingJSON },
			func(e ownEncoding) []any { return []any{e.name, e.unmarshal.name, counterpart(e.dec, "Marshal")} }),
	},
	{
		code: diag.CannotTravel, about: "`UnmarshalJSON` or `UnmarshalText` with a value receiver",
		message: "%s: %[3]s of %[2]s has a value receiver, so the decoded value is lost",
		why:     "the method decodes into a copy", hint: "declare it with a pointer receiver",
		check: either(
			with(func(e ownEncoding) bool { return !e.unmarshal.pointer },
				func(e ownEncoding) []any { return []any{e.name, e.unmarshal.name} }),
			with(func(k mapKey) bool { return k.byValue() && !k.unmarshalText.pointer },
				func(k mapKey) []any { return []any{k.name, k.unmarshalText.name} })),
	},
	{
		code: diag.CannotTravel, about: "value in a map whose `MarshalJSON` or `MarshalText` has a pointer receiver",
		message: "%s: %[3]s of %[2]s has a pointer receiver, so it isn't called for map values",
		why: "the address of a map value can't be taken, so the method is not called; " +
			"this includes fields of structs in maps",
		hint: "use a map of pointers, or declare the method with a value receiver",
		check: with(func(e ownEncoding) bool { return e.from == inMap && e.encodingInMap() != e.enc },
			func(e ownEncoding) []any { return []any{e.name, e.marshal.name} }),
	},
	{
		code:    diag.CannotTravel,
		about:   "struct with other fields that inherits `MarshalJSON`, `MarshalText` or the reverse from an embedded field",
		message: "%s: %s inherits %s from its embedded %s, so its field %s isn't sent",
		why:     "only the embedded field is sent",
		hint:    "name the embedded field %[4]s, or declare the methods on %[2]s",
		fix:     "name the embedded field, or declare the methods on the struct",
		check: with(func(p promotion) bool { return p.other != nil },
			func(p promotion) []any { return []any{p.name, p.method, p.field.Name(), p.other.Name()} }),
	},
	{
		code: diag.CannotTravel, about: "struct that inherits such a method from an embedded pointer",
		message: "%s: %s inherits %s from its embedded pointer %s, which is nil when it is decoded",
		why:     "the pointer is nil when the method is called to decode", hint: "embed the value instead of a pointer",
		check: with(func(p promotion) bool { return p.other == nil && isPointer(p.field.Type()) },
			func(p promotion) []any { return []any{p.name, p.method, p.field.Name()} }),
	},
	{
		code: diag.CannotTravel, about: "anonymous struct that inherits such a method from an embedded field",
		message: "%s is an anonymous struct that inherits %s from an embedded field, so it isn't decoded as encoded",
		why:     "encoding/json decodes it field by field", hint: "name the embedded field, or declare the struct as a type",
		check: with(func(s unnamedStruct) bool { return !s.none() },
			func(s unnamedStruct) []any { return []any{s.any()} }),
	},
	{
		code: diag.CannotTravel, about: "struct that embeds several types with their own encoding",
		message: "%s: %s embeds %s but doesn't inherit its %s, because another field has it too",
		why:     "no method is promoted, so the fields of the embedded structs are sent instead",
		hint:    "name the embedded fields",
		check: with(func(f structField) bool { return f.sentAsNamed() && f.promoted && !methodsOf(f.Type()).none() },
			func(f structField) []any { return []any{f.ownerName(), f.typeName(), methodsOf(f.Type()).any()} }),
	},
	{
		code: diag.CannotTravel, about: "tag option `string` on a scalar type with its own encoding",
		message: "%s: its tag has the option string, but %s has %s",
		why:     "encoding/json can't decode it", hint: "remove the option string from the tag",
		check: with(func(f structField) bool {
			return f.sentAsNamed() && f.tag.Quoted && isScalar(f.Type()) && !methodsOf(pointed(f.Type())).none()
		},
			func(f structField) []any { return []any{f.typeName(), methodsOf(pointed(f.Type())).any()} }),
	},

	// Fields that encoding/json doesn't send.
	{
		code: diag.FieldLost, about: "unexported field, unless all its values are equal",
		message: "%s: field %s of %s is not exported, so it isn't sent",
		why:     "it isn't sent", hint: "export it, or tag it `json:\"-\"` if it needn't be sent",
		check: with(func(f structField) bool { return f.lost() && f.isUsers() },
			func(f structField) []any { return []any{f.Name(), f.ownerName()} }),
	},
	{
		code: diag.FieldLost, about: "unexported field of a struct in another module",
		message: "%s: field %s of %s is not exported, so it isn't sent",
		why:     "it isn't sent", hint: "send its text, or your own struct with the required fields",
		check: with(func(f structField) bool { return f.lost() && !f.isUsers() },
			func(f structField) []any { return []any{f.Name(), f.ownerName()} }),
	},
	{
		code: diag.FieldLost, about: "embedded pointer to an unexported struct",
		message: "%s is an embedded pointer to an unexported struct" + cannotBeSent, why: "encoding/json can't set it",
		hint:  "encoding/json can't set it: embed the struct itself",
		check: when(func(f structField) bool { return !f.skip && !f.Exported() && isPointer(f.Type()) }),
	},
	{
		code: diag.FieldLost, about: "embedded unexported struct with a name in its tag",
		message: "%s: the embedded %s is not exported and has a name in its tag",
		why:     "encoding/json can't call methods of such a field", hint: "export it, or remove the name",
		check: with(func(f structField) bool { return !f.skip && !f.Exported() && f.tag.Given != "" },
			func(f structField) []any { return []any{f.Name()} }),
	},
	{
		code: diag.FieldLost, about: "tag with a name that encoding/json ignores",
		message: "%s: encoding/json ignores the name %q and sends %s",
		why:     "the JSON member has the name of the field",
		hint:    "use letters, digits and plain punctuation, without quotes",
		check: with(func(f structField) bool { return !f.skip && f.tag.Given != f.tag.Name },
			func(f structField) []any { return []any{f.tag.Given, f.Name()} }),
	},
	{
		code: diag.FieldLost, about: "tag option `inline` (on a field that isn't embedded), `unknown` or `format`",
		message: "%s: the option %s of its tag only works with GOEXPERIMENT=jsonv2",
		why:     "it only works with GOEXPERIMENT=jsonv2", hint: "remove the option",
		check: with(func(f structField) bool { return !f.skip && f.badOption() != "" },
			func(f structField) []any { return []any{f.badOption()} }),
	},
	{
		code: diag.FieldLost, about: "field of an embedded struct that another field hides",
		message: "%s: %s hides it, because both are called %q in JSON", why: "it isn't sent",
		hint: "give one of them another name in its tag, or name the embedded struct",
		check: with(func(c clash) bool { return !c.even() },
			func(c clash) []any { return []any{c.first.path, c.name} }),
	},
	{
		code: diag.FieldLost, about: "two fields with the same JSON name at the same depth",
		message: "%s and %s are both called %q in JSON, so neither is sent", why: "neither is sent",
		hint: "give one of them another name in its tag",
		check: with(func(c clash) bool { return c.even() },
			func(c clash) []any { return []any{c.first.path, c.name} }),
	},
	{
		code: diag.FieldLost, about: "struct that embeds a pointer to itself",
		message: "%s: %s embeds itself, so the inner one isn't sent",
		why:     "the inner one isn't sent", hint: "name the embedded field",
		check: with(func(selfEmbedding) bool { return true },
			func(e selfEmbedding) []any { return []any{e.name} }),
	},
}

// A row is a row of the table of types.
type row struct{ about, result, why, fix string }

// sentAsIs has the rows of types that are sent without a warning.
var sentAsIs = []row{
	{"`bool`, integers, floats, `string`", "sent", "NaN and infinities fail when sent; invalid UTF-8 becomes U+FFFD", ""},
	{"`[]byte`, slices of a type of kind `uint8` without methods", "sent", "as base64", ""},
	{"slice, array, pointer, map", "sent",
		"as its elements; a nil pointer, slice or map is `null`; a pointer to a nil one arrives as nil", ""},
	{"struct", "sent", "its exported fields and those of embedded structs; " +
		"with `omitempty` an empty slice or map arrives as nil, as does " +
		"an embedded pointer to a struct without sent fields; `omitzero` uses the `IsZero` of the field's type", ""},
	{"field tagged `json:\"-\"`", "not sent", "", ""},
	{"type with both methods of a pair, `MarshalJSON` and `UnmarshalJSON` or `MarshalText` and `UnmarshalText`",
		"sent", "as the methods encode it", ""},
	{"struct with only an embedded field of such a type", "sent", "as the embedded type", ""},
}

// TypesMarkdown returns a table of the types that can be sent and of those that are rejected, for the documentation.
func TypesMarkdown() string {
	rows := sentAsIs
	for _, r := range rules {
		if r.about == "" {
			continue
		}
		result, fix := "rejected", r.fix
		if r.warns() {
			result = "sent, with a warning"
		}
		if fix == "" {
			fix = r.hint
		}
		rows = append(rows, row{r.about, result + ": `" + string(r.code) + "`", r.why, fix})
	}
	var b strings.Builder
	b.WriteString("| type | result | remarks | fix |\n|---|---|---|---|\n")
	for _, r := range rows {
		b.WriteString("| " + r.about + " | " + r.result + " | " + r.why + " | " + r.fix + " |\n")
	}
	return b.String()
}
