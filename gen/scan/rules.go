package scan

import (
	"go/types"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/ir"
)

// A rule is one reason why a type is refused, or accepted with a warning, and the check for it. The table in
// docs/generator.md is made from the rules.
type rule struct {
	code    diag.Code
	about   string // what it is about, for the table; "" if it isn't there
	message string // a format: the path to the culprit, and what the check returns
	why     string // for the table
	hint    string // what to do; a format with the same arguments if it has verbs
	fix     string // what to do, for the table, if the hint is a format
	check   check
}

// warns reports whether a type that breaks the rule is accepted.
func (r *rule) warns() bool { return r.code == diag.LosesTypes || r.code == diag.UnnamedParameter }

const cannotBeSent = ", which can't be sent"

// The rules, in the order of the documentation. Of those that are broken by one thing, the first refusal counts. It is never
// changed.
var rules = []rule{
	// What travels with a warning.
	{
		code: diag.LosesTypes, about: "`any`", message: "%s is of type any, so its values lose their Go types",
		why:   "structs arrive as `map[string]any`, numbers as `float64`, integers beyond ±2^53 as `int64`, `uint64` or `json.Number`",
		hint:  "use a concrete type, or json.RawMessage for what is only passed on",
		check: when(func(t sentType) bool { return isAny(t.typ) }),
	},
	{
		code: diag.LosesTypes, about: "`big.Float`", message: "%s is a big.Float: it is read with a precision of 64 bits",
		why: "it is read with a precision of 64 bits", hint: "send a big.Rat or its text",
		check: when(func(e ownEncoding) bool { return e.name == "big.Float" }),
	},
	{
		code: diag.UnnamedParameter, about: "parameter without a name", message: "%[2]s: parameter %[3]d has no name and is called %[1]s on the wire",
		why: "it is called by its position, so naming or moving it later breaks callers", hint: "give it a name",
		check: with(func(unnamedParameter) bool { return true },
			func(p unnamedParameter) []any { return []any{p.method, p.number} }),
	},

	// Types without a form in JSON.
	{
		code: diag.CannotTravel, about: "channel", message: "%s is a channel" + cannotBeSent,
		why: "it has no form in JSON", hint: "send what is read from it, as a slice",
		check: when(func(t sentType) bool { return is[*types.Chan](t.typ) }),
	},
	{
		code: diag.CannotTravel, about: "func", message: "%s is a func" + cannotBeSent,
		why: "it has no form in JSON", hint: "code can't be sent",
		check: when(func(t sentType) bool { return is[*types.Signature](t.typ) }),
	},
	{
		code: diag.CannotTravel, about: "complex number", message: "%s is a complex number" + cannotBeSent,
		why: "it has no form in JSON", hint: "JSON has none: send two floats",
		check: when(func(t sentType) bool { return isComplex(t.typ) }),
	},
	{
		code: diag.CannotTravel, about: "`unsafe.Pointer`", message: "%s is an unsafe.Pointer" + cannotBeSent,
		why: "it has no form in JSON", hint: "memory can't be sent",
		check: when(func(t sentType) bool { return isUnsafePointer(t.typ) }),
	},
	{
		code: diag.CannotTravel, about: "interface with methods", message: "%s is an interface" + cannotBeSent,
		why: "its dynamic type is not in the JSON", hint: "a reader of JSON can't know what is inside: use a struct, or any",
		check: when(func(t sentType) bool { return is[*types.Interface](t.typ) && !isAny(t.typ) }),
	},
	{
		code: diag.CannotTravel, about: "`error`", message: "%s is an %s" + cannotBeSent,
		why: "its dynamic type is not in the JSON", hint: "send its text, or a struct that says what failed",
		check: with(func(t sentType) bool { return isUniversal(t.typ) },
			func(t sentType) []any { return []any{t.typ.(*types.Named).Obj().Name()} }),
	},
	{
		code: diag.CannotTravel, about: "`context.Context`, except as the first parameter",
		message: "%s is a context.Context" + cannotBeSent,
		why:     "it belongs to the call", hint: "the context is the first parameter and nothing else",
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
		code: diag.CannotTravel, about: "type without end: a generic type that mentions ever larger instances of itself, `type P *P`",
		message: "%s is of a type without end" + cannotBeSent,
		why:     "it can't be described",
		hint:    "a generic type that mentions ever larger instances of itself can't be described, and neither can a pointer to itself",
		check:   when(func(n nesting) bool { return n.depth == maxDepth || pointsToItself(n.typ) }),
	},

	// Keys of maps.
	{
		code: diag.CannotTravel, about: "map key that is no string, no integer and no text",
		message: "%s is a map with keys of type %s" + cannotBeSent, why: "members of JSON objects are strings",
		hint: "JSON keys are strings: use a string, an integer or a type that marshals itself to text",
		check: with(func(k mapKey) bool {
			return types.IsInterface(k.typ) || !k.isString && !k.isInteger && k.marshalText == nil
		},
			func(k mapKey) []any { return []any{k.name} }),
	},
	{
		code: diag.CannotTravel, about: "map key of a string type with `UnmarshalText`",
		message: "%s is a map with keys of type %s, which are written as strings and read by UnmarshalText",
		why:     "keys of kind string are written as they are, whatever MarshalText does, and read by UnmarshalText",
		hint:    "use string as the key, or a struct type with MarshalText and UnmarshalText",
		check: with(func(k mapKey) bool { return k.isString && k.unmarshalText != nil },
			func(k mapKey) []any { return []any{k.name} }),
	},
	{
		code: diag.CannotTravel, about: "map key whose `MarshalText` has a pointer receiver",
		message: "%s is a map with keys of type %s, whose MarshalText has a pointer receiver",
		why:     "the address of a key can't be taken, so the method is not called", hint: "give MarshalText a value receiver",
		check: with(func(k mapKey) bool { return k.byPointer() && (k.unmarshalText != nil || !k.isInteger) },
			func(k mapKey) []any { return []any{k.name} }),
	},
	{
		code: diag.CannotTravel, about: "map key with one of `MarshalText` and `UnmarshalText`",
		message: "%s is a map with keys of type %s, which has %s and no %s", why: "keys are not read as they are written",
		hint: "give %[2]s %[4]s too", fix: "give it both methods",
		check: either(
			with(func(k mapKey) bool { return k.isInteger && k.marshalText == nil && k.unmarshalText != nil },
				func(k mapKey) []any { return []any{k.name, "UnmarshalText", "MarshalText"} }),
			with(func(k mapKey) bool { return k.byValue() && k.unmarshalText == nil },
				func(k mapKey) []any { return []any{k.name, "MarshalText", "UnmarshalText"} })),
	},
	{
		code: diag.CannotTravel, about: "map key with `UnmarshalText` and `UnmarshalJSON`, except those of the standard library",
		message: "%s is a map with keys of type %s, which are written by MarshalText and read by UnmarshalJSON",
		why:     "keys are written by `MarshalText`, and read by `UnmarshalJSON` if there is one",
		hint:    "use string as the key, or a type with MarshalText and UnmarshalText only",
		check: with(func(k mapKey) bool {
			return k.byValue() && k.unmarshalText != nil && k.unmarshalJSON != nil && !k.standard
		},
			func(k mapKey) []any { return []any{k.name} }),
	},

	// Types that encode themselves.
	{
		code: diag.CannotTravel, about: "type with `MarshalJSON` and no `UnmarshalJSON`, or `MarshalText` and no `UnmarshalText`",
		message: "%s: %s has %s and no %s, so it can't be read back", why: "it can't be read back",
		hint: "give %[2]s %[4]s too", fix: "give it both methods",
		check: with(func(e ownEncoding) bool { return e.dec == "" || e.enc == ir.EncodingJSON && e.dec == ir.EncodingText },
			func(e ownEncoding) []any { return []any{e.name, e.marshal.name, counterpart(e.enc, "Unmarshal")} }),
	},
	{
		code: diag.CannotTravel, about: "type with `UnmarshalJSON` and no `MarshalJSON`, or `UnmarshalText` and no `MarshalText`",
		message: "%s: %s has %s and no %s, so it isn't written as it is read", why: "it isn't written as it is read",
		hint: "give %[2]s %[4]s too", fix: "give it both methods",
		check: with(func(e ownEncoding) bool { return e.enc == "" || e.enc == ir.EncodingText && e.dec == ir.EncodingJSON },
			func(e ownEncoding) []any { return []any{e.name, e.unmarshal.name, counterpart(e.dec, "Marshal")} }),
	},
	{
		code: diag.CannotTravel, about: "`UnmarshalJSON` or `UnmarshalText` with a value receiver",
		message: "%s: %[3]s of %[2]s has a value receiver, so what it reads is lost",
		why:     "the method decodes into a copy", hint: "give it a pointer receiver",
		check: either(
			with(func(e ownEncoding) bool { return !e.unmarshal.pointer },
				func(e ownEncoding) []any { return []any{e.name, e.unmarshal.name} }),
			with(func(k mapKey) bool { return k.byValue() && !k.unmarshalText.pointer },
				func(k mapKey) []any { return []any{k.name, k.unmarshalText.name} })),
	},
	{
		code: diag.CannotTravel, about: "value in a map whose `MarshalJSON` or `MarshalText` has a pointer receiver",
		message: "%s: %[3]s of %[2]s has a pointer receiver, so it isn't called for a value in a map",
		why:     "the address of a value in a map can't be taken, so the method is not called; this includes fields of structs in maps",
		hint:    "let the map hold pointers, or give the method a value receiver",
		check: with(func(e ownEncoding) bool { return e.from == inMap && e.encodingInMap() != e.enc },
			func(e ownEncoding) []any { return []any{e.name, e.marshal.name} }),
	},
	{
		code: diag.CannotTravel, about: "struct that gets `MarshalJSON`, `MarshalText` or the reverse from an embedded field and has other fields",
		message: "%s: %s has the %s of its embedded %s, so its field %s isn't sent", why: "the embedded field is all that is sent",
		hint: "give the embedded %[4]s a name as a field, or give %[2]s methods of its own",
		fix:  "give the embedded field a name, or the struct methods of its own",
		check: with(func(p promotion) bool { return p.other != nil },
			func(p promotion) []any { return []any{p.name, p.method, p.field.Name(), p.other.Name()} }),
	},
	{
		code: diag.CannotTravel, about: "the same, from an embedded pointer",
		message: "%s: %s has the %s of its embedded pointer %s, which is nil when it is read",
		why:     "the pointer is nil when the method is called to decode", hint: "embed the value instead of a pointer",
		check: with(func(p promotion) bool { return p.other == nil && isPointer(p.field.Type()) },
			func(p promotion) []any { return []any{p.name, p.method, p.field.Name()} }),
	},
	{
		code: diag.CannotTravel, about: "struct without a name that gets such a method from an embedded field",
		message: "%s is a struct without a name that has %s from an embedded field, so it isn't read as it is written",
		why:     "encoding/json decodes it field by field", hint: "give the embedded field a name, or declare the struct as a type",
		check: with(func(s unnamedStruct) bool { return !s.none() },
			func(s unnamedStruct) []any { return []any{s.any()} }),
	},
	{
		code: diag.CannotTravel, about: "struct that embeds several types that encode themselves",
		message: "%s: %s embeds %s, but not its %s, since another field has it too", why: "none of the methods is promoted, and the fields of the embedded structs are sent instead",
		hint: "give the embedded fields names",
		check: with(func(f structField) bool { return f.sentAsNamed() && f.promoted && !methodsOf(f.Type()).none() },
			func(f structField) []any { return []any{f.ownerName(), f.typeName(), methodsOf(f.Type()).any()} }),
	},
	{
		code: diag.CannotTravel, about: "option `string` at a scalar type that encodes itself",
		message: "%s: its tag has the option string, and %s has %s", why: "encoding/json doesn't read it back", hint: "remove the option string from the tag",
		check: with(func(f structField) bool {
			return f.sentAsNamed() && f.tag.Quoted && isScalar(f.Type()) && !methodsOf(pointed(f.Type())).none()
		},
			func(f structField) []any { return []any{f.typeName(), methodsOf(pointed(f.Type())).any()} }),
	},

	// Fields that would be lost.
	{
		code: diag.FieldLost, about: "unexported field, unless all its values are equal", message: "%s: field %s of %s is not exported, so it isn't sent",
		why: "it isn't sent", hint: "export it, or tag it `json:\"-\"` if it needn't be sent",
		check: with(func(f structField) bool { return f.lost() && f.isUsers() },
			func(f structField) []any { return []any{f.Name(), f.ownerName()} }),
	},
	{
		code: diag.FieldLost, about: "the same in a struct of another module, such as the `User` of `url.URL`",
		message: "%s: field %s of %s is not exported, so it isn't sent",
		why:     "it isn't sent", hint: "send its text, or a struct of your own with what is needed",
		check: with(func(f structField) bool { return f.lost() && !f.isUsers() },
			func(f structField) []any { return []any{f.Name(), f.ownerName()} }),
	},
	{
		code: diag.FieldLost, about: "embedded pointer to an unexported struct",
		message: "%s is an embedded pointer to an unexported struct" + cannotBeSent, why: "encoding/json can't fill it",
		hint:  "encoding/json can't fill it: embed the struct itself",
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
		code: diag.FieldLost, about: "name in a tag that encoding/json ignores", message: "%s: encoding/json ignores the name %q and sends %s",
		why: "the member has the name of the field", hint: "use letters, digits and plain punctuation, without quotes",
		check: with(func(f structField) bool { return !f.skip && f.tag.Given != f.tag.Name },
			func(f structField) []any { return []any{f.tag.Given, f.Name()} }),
	},
	{
		code: diag.FieldLost, about: "tag option `inline` (at a field that isn't embedded), `unknown` or `format`",
		message: "%s: the option %s of its tag has a meaning with GOEXPERIMENT=jsonv2 only",
		why:     "it has a meaning with GOEXPERIMENT=jsonv2 only", hint: "remove the option",
		check: with(func(f structField) bool { return !f.skip && f.badOption() != "" },
			func(f structField) []any { return []any{f.badOption()} }),
	},
	{
		code: diag.FieldLost, about: "field of an embedded struct, if another field of that name hides it",
		message: "%s: %s hides it, since both are called %q in JSON", why: "it isn't sent",
		hint: "give one of them another name in its tag, or give the embedded struct a name as a field",
		check: with(func(c clash) bool { return !c.even() },
			func(c clash) []any { return []any{c.first.path, c.name} }),
	},
	{
		code: diag.FieldLost, about: "two fields of one name in JSON at the same depth",
		message: "%s: it and %s are both called %q in JSON, so neither is sent", why: "neither is sent",
		hint: "give one of them another name in its tag",
		check: with(func(c clash) bool { return c.even() },
			func(c clash) []any { return []any{c.first.path, c.name} }),
	},
	{
		code: diag.FieldLost, about: "struct that embeds a pointer to itself", message: "%s: %s embeds itself, so the inner one isn't sent",
		why: "the inner one isn't sent", hint: "give the embedded field a name",
		check: with(func(selfEmbedding) bool { return true },
			func(e selfEmbedding) []any { return []any{e.name} }),
	},
}

// A row of the table of what travels.
type row struct{ about, result, why, fix string }

// sentAsIs lists what is sent as it is.
var sentAsIs = []row{
	{"`bool`, integers, floats, `string`", "travels", "NaN and infinities fail when they are sent; bytes that are no UTF-8 become U+FFFD", ""},
	{"`[]byte`, slices of a type of kind `uint8` without methods", "travels", "as base64", ""},
	{"slice, array, pointer, map", "travels", "as what it holds; a nil pointer, slice or map is `null`, and so is a pointer to one, which arrives as nil", ""},
	{"struct", "travels", "by its exported fields and those of embedded structs; with `omitempty` an empty slice or map arrives as nil, " +
		"and an embedded pointer to a struct that sends nothing too; with `omitzero` the `IsZero` of the field's type decides", ""},
	{"field tagged `json:\"-\"`", "travels", "without it", ""},
	{"type with both methods of a pair, `MarshalJSON` and `UnmarshalJSON` or `MarshalText` and `UnmarshalText`", "travels", "as they encode it", ""},
	{"struct that is nothing but an embedded type of that kind", "travels", "as the embedded type", ""},
}

// TypesMarkdown returns what travels and what is refused as a table, for the documentation.
func TypesMarkdown() string {
	rows := sentAsIs
	for _, r := range rules {
		if r.about == "" {
			continue
		}
		result, fix := "refused", r.fix
		if r.warns() {
			result = "travels, warning"
		}
		if fix == "" {
			fix = r.hint
		}
		rows = append(rows, row{r.about, result + ": `" + string(r.code) + "`", r.why, fix})
	}
	var b strings.Builder
	b.WriteString("| type | result | why | what to do |\n|---|---|---|---|\n")
	for _, r := range rows {
		b.WriteString("| " + r.about + " | " + r.result + " | " + r.why + " | " + r.fix + " |\n")
	}
	return b.String()
}
