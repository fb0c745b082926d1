package ir

import (
	"reflect"
	"strings"
	"unicode"
)

// A Tag is a parsed json tag of a struct field.
type Tag struct {
	Name     string // "" if there is none, or encoding/json ignores it
	Given    string // the name as written
	Skip     bool   // "-": the field is not sent
	Optional bool   // omitempty or omitzero
	Quoted   bool   // the string option, which only affects scalars
	Options  []string
}

// ParseTag parses the unquoted tag of a struct field.
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

// isTagName reports whether encoding/json accepts a name in a tag.
func isTagName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}
