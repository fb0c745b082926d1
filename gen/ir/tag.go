package ir

import (
	"reflect"
	"strings"
	"unicode"
)

// A Tag is what encoding/json reads from the tag of a struct field.
type Tag struct {
	Name     string // "" if it gives none, or one that encoding/json ignores
	Given    string // the name as it is written
	Skip     bool   // "-": the field is not sent
	Optional bool   // omitempty or omitzero
	Quoted   bool   // the string option, which has an effect on scalars only
	Options  []string
}

// ParseTag parses the tag of a struct field, unquoted.
func ParseTag(tag string) Tag {
	text := reflect.StructTag(tag).Get("json")
	if text == "" || text == "-" {
		return Tag{Skip: text == "-"}
	}
	name, rest, _ := strings.Cut(text, ",")
	t := Tag{Given: name, Options: strings.Split(rest, ",")}
	if isTagName(name) {
		t.Name = name
	}
	for _, o := range t.Options {
		t.Optional = t.Optional || o == "omitempty" || o == "omitzero"
		t.Quoted = t.Quoted || o == "string"
	}
	return t
}

// isTagName reports whether encoding/json takes name from a tag.
func isTagName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}
