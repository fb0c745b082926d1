package scan

import (
	"strings"

	"github.com/afgen/afgen/gen/diag"
)

// A rule is one reason why a type is refused, or accepted with a warning. The table in docs/generator.md is made from
// the rules.
type rule struct {
	code    diag.Code
	about   string // what it is about, for the table
	message string // a format: the path to the culprit, and what the rule's own place adds
	why     string // for the table
	hint    string // what to do; a format with the same arguments if it has verbs
	fix     string // what to do, for the table, if the hint is a format
}

const cannotBeSent = ", which can't be sent"

// Types without a form in JSON.
var (
	chanRule = rule{code: diag.CannotTravel, about: "channel", message: "%s is a channel" + cannotBeSent,
		why: "it has no form in JSON", hint: "send what is read from it, as a slice"}
	funcRule = rule{code: diag.CannotTravel, about: "func", message: "%s is a func" + cannotBeSent,
		why: "it has no form in JSON", hint: "code can't be sent"}
	complexRule = rule{code: diag.CannotTravel, about: "complex number", message: "%s is a complex number" + cannotBeSent,
		why: "it has no form in JSON", hint: "JSON has none: send two floats"}
	unsafeRule = rule{code: diag.CannotTravel, about: "`unsafe.Pointer`", message: "%s is an unsafe.Pointer" + cannotBeSent,
		why: "it has no form in JSON", hint: "memory can't be sent"}
	interfaceRule = rule{code: diag.CannotTravel, about: "interface with methods", message: "%s is an interface" + cannotBeSent,
		why: "its dynamic type is not in the JSON", hint: "a reader of JSON can't know what is inside: use a struct, or any"}
	errorRule = rule{code: diag.CannotTravel, about: "`error`", message: "%s is an %s" + cannotBeSent,
		why: "its dynamic type is not in the JSON", hint: "send its text, or a struct that says what failed"}
	contextRule = rule{code: diag.CannotTravel, about: "`context.Context`, except as the first parameter",
		message: "%s is a context.Context" + cannotBeSent,
		why:     "it belongs to the call", hint: "the context is the first parameter and nothing else"}
	otherRule = rule{code: diag.CannotTravel, message: "%s is of type %s" + cannotBeSent}
	// The path is that of the parameter.
	endlessRule = rule{code: diag.CannotTravel, about: "type without end: a generic type that mentions ever larger instances of itself, `type P *P`",
		message: "%s is of a type without end" + cannotBeSent,
		why:     "it can't be described",
		hint:    "a generic type that mentions ever larger instances of itself can't be described, and neither can a pointer to itself"}
)

// Keys of maps.
var (
	keyRule = rule{code: diag.CannotTravel, about: "map key that is no string, no integer and no text",
		message: "%s is a map with keys of type %s" + cannotBeSent, why: "members of JSON objects are strings",
		hint: "JSON keys are strings: use a string, an integer or a type that marshals itself to text"}
	stringKeyRule = rule{code: diag.CannotTravel, about: "map key of a string type with `UnmarshalText`",
		message: "%s is a map with keys of type %s, which are written as strings and read by UnmarshalText",
		why:     "keys of kind string are written as they are, whatever MarshalText does, and read by UnmarshalText",
		hint:    "use string as the key, or a struct type with MarshalText and UnmarshalText"}
	pointerKeyRule = rule{code: diag.CannotTravel, about: "map key whose `MarshalText` has a pointer receiver",
		message: "%s is a map with keys of type %s, whose MarshalText has a pointer receiver",
		why:     "the address of a key can't be taken, so the method is not called", hint: "give MarshalText a value receiver"}
	unreadableKeyRule = rule{code: diag.CannotTravel, about: "map key with one of `MarshalText` and `UnmarshalText`",
		message: "%s is a map with keys of type %s, which has %s and no %s", why: "keys are not read as they are written",
		hint: "give %[2]s %[4]s too", fix: "give it both methods"}
	jsonKeyRule = rule{code: diag.CannotTravel, about: "map key with `UnmarshalText` and `UnmarshalJSON`, except those of the standard library",
		message: "%s is a map with keys of type %s, which are written by MarshalText and read by UnmarshalJSON",
		why:     "keys are written by `MarshalText`, and read by `UnmarshalJSON` if there is one",
		hint:    "use string as the key, or a type with MarshalText and UnmarshalText only"}
)

// Types that encode themselves.
var (
	oneWayRule = rule{code: diag.CannotTravel, about: "type with `MarshalJSON` and no `UnmarshalJSON`, or `MarshalText` and no `UnmarshalText`",
		message: "%s: %s has %s and no %s, so it can't be read back", why: "it can't be read back",
		hint: "give %[2]s %[4]s too", fix: "give it both methods"}
	unreadableRule = rule{code: diag.CannotTravel, about: "type with `UnmarshalJSON` and no `MarshalJSON`, or `UnmarshalText` and no `MarshalText`",
		message: "%s: %s has %s and no %s, so it isn't written as it is read", why: "it isn't written as it is read",
		hint: "give %[2]s %[4]s too", fix: "give it both methods"}
	valueReceiverRule = rule{code: diag.CannotTravel, about: "`UnmarshalJSON` or `UnmarshalText` with a value receiver",
		message: "%s: %[3]s of %[2]s has a value receiver, so what it reads is lost",
		why:     "the method decodes into a copy", hint: "give it a pointer receiver"}
	pointerReceiverRule = rule{code: diag.CannotTravel, about: "value in a map whose `MarshalJSON` or `MarshalText` has a pointer receiver",
		message: "%s: %[3]s of %[2]s has a pointer receiver, so it isn't called for a value in a map",
		why:     "the address of a value in a map can't be taken, so the method is not called; this includes fields of structs in maps",
		hint:    "let the map hold pointers, or give the method a value receiver"}
	promotedRule = rule{code: diag.CannotTravel, about: "struct that gets `MarshalJSON`, `MarshalText` or the reverse from an embedded field and has other fields",
		message: "%s: %s has the %s of its embedded %s, so its field %s isn't sent", why: "the embedded field is all that is sent",
		hint: "give the embedded %[4]s a name as a field, or give %[2]s methods of its own",
		fix:  "give the embedded field a name, or the struct methods of its own"}
	promotedPointerRule = rule{code: diag.CannotTravel, about: "the same, from an embedded pointer",
		message: "%s: %s has the %s of its embedded pointer %s, which is nil when it is read",
		why:     "the pointer is nil when the method is called to decode", hint: "embed the value instead of a pointer"}
	anonymousRule = rule{code: diag.CannotTravel, about: "struct without a name that gets such a method from an embedded field",
		message: "%s is a struct without a name that has %s from an embedded field, so it isn't read as it is written",
		why:     "encoding/json decodes it field by field", hint: "give the embedded field a name, or declare the struct as a type"}
	ambiguousRule = rule{code: diag.CannotTravel, about: "struct that embeds several types that encode themselves",
		message: "%s: %s embeds %s, but not its %s, since another field has it too", why: "none of the methods is promoted, and the fields of the embedded structs are sent instead",
		hint: "give the embedded fields names"}
	quotedRule = rule{code: diag.CannotTravel, about: "option `string` at a scalar type that encodes itself",
		message: "%s: its tag has the option string, and %s has %s", why: "encoding/json doesn't read it back", hint: "remove the option string from the tag"}
)

// Fields that would be lost.
var (
	unexportedRule = rule{code: diag.FieldLost, about: "unexported field, unless all its values are equal", message: "%s: field %s of %s is not exported, so it isn't sent",
		why: "it isn't sent", hint: "export it, or tag it `json:\"-\"` if it needn't be sent"}
	foreignRule = rule{code: diag.FieldLost, about: "the same in a struct of another module, such as the `User` of `url.URL`",
		message: "%s: field %s of %s is not exported, so it isn't sent",
		why:     "it isn't sent", hint: "send its text, or a struct of your own with what is needed"}
	embeddedPointerRule = rule{code: diag.FieldLost, about: "embedded pointer to an unexported struct",
		message: "%s is an embedded pointer to an unexported struct" + cannotBeSent, why: "encoding/json can't fill it",
		hint: "encoding/json can't fill it: embed the struct itself"}
	taggedUnexportedRule = rule{code: diag.FieldLost, about: "embedded unexported struct with a name in its tag",
		message: "%s: the embedded %s is not exported and has a name in its tag",
		why:     "encoding/json can't call methods of such a field", hint: "export it, or remove the name"}
	tagNameRule = rule{code: diag.FieldLost, about: "name in a tag that encoding/json ignores", message: "%s: encoding/json ignores the name %q and sends %s",
		why: "the member has the name of the field", hint: "use letters, digits and plain punctuation, without quotes"}
	tagOptionRule = rule{code: diag.FieldLost, about: "tag option `inline` (at a field that isn't embedded), `unknown` or `format`",
		message: "%s: the option %s of its tag has a meaning with GOEXPERIMENT=jsonv2 only",
		why:     "it has a meaning with GOEXPERIMENT=jsonv2 only", hint: "remove the option"}
	hiddenRule = rule{code: diag.FieldLost, about: "field of an embedded struct, if another field of that name hides it",
		message: "%s: %s hides it, since both are called %q in JSON", why: "it isn't sent",
		hint: "give one of them another name in its tag, or give the embedded struct a name as a field"}
	annulledRule = rule{code: diag.FieldLost, about: "two fields of one name in JSON at the same depth",
		message: "%s: it and %s are both called %q in JSON, so neither is sent", why: "neither is sent",
		hint: "give one of them another name in its tag"}
	embedsItselfRule = rule{code: diag.FieldLost, about: "struct that embeds a pointer to itself", message: "%s: %s embeds itself, so the inner one isn't sent",
		why: "the inner one isn't sent", hint: "give the embedded field a name"}
)

// What travels with a warning.
var (
	anyRule = rule{code: diag.LosesTypes, about: "`any`", message: "%s is of type any, so its values lose their Go types",
		why:  "structs arrive as `map[string]any`, numbers as `float64`, integers beyond ±2^53 as `int64`, `uint64` or `json.Number`",
		hint: "use a concrete type, or json.RawMessage for what is only passed on"}
	bigFloatRule = rule{code: diag.LosesTypes, about: "`big.Float`", message: "%s is a big.Float: it is read with a precision of 64 bits",
		why: "it is read with a precision of 64 bits", hint: "send a big.Rat or its text"}
	unnamedRule = rule{code: diag.UnnamedParameter, about: "parameter without a name", message: "%[2]s: parameter %[3]d has no name and is called %[1]s on the wire",
		why: "it is called by its position, so naming or moving it later breaks callers", hint: "give it a name"}
)

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
	for _, group := range []struct {
		result string
		rules  []*rule
	}{
		{"travels, warning", []*rule{&anyRule, &bigFloatRule, &unnamedRule}},
		{"refused", []*rule{
			&chanRule, &funcRule, &complexRule, &unsafeRule, &interfaceRule, &errorRule, &contextRule, &endlessRule,
			&keyRule, &stringKeyRule, &pointerKeyRule, &unreadableKeyRule, &jsonKeyRule,
			&oneWayRule, &unreadableRule, &valueReceiverRule, &pointerReceiverRule, &promotedRule, &promotedPointerRule, &anonymousRule,
			&ambiguousRule, &quotedRule,
			&unexportedRule, &foreignRule, &embeddedPointerRule, &taggedUnexportedRule, &tagNameRule, &tagOptionRule, &hiddenRule, &annulledRule, &embedsItselfRule,
		}},
	} {
		for _, r := range group.rules {
			fix := r.fix
			if fix == "" {
				fix = r.hint
			}
			rows = append(rows, row{r.about, group.result + ": `" + string(r.code) + "`", r.why, fix})
		}
	}
	var b strings.Builder
	b.WriteString("| type | result | why | what to do |\n|---|---|---|---|\n")
	for _, r := range rows {
		b.WriteString("| " + r.about + " | " + r.result + " | " + r.why + " | " + r.fix + " |\n")
	}
	return b.String()
}
