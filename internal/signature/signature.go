// Package signature reads the parameters of a method from its signature, as instances announce it, and encodes what a
// person types for one. The command af and the dashboard make calls with it.
package signature

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A Parameter is one of a method, as its signature names it.
type Parameter struct {
	Name string // the member of the arguments
	Type string // Go's spelling
}

// Optional reports whether a call may leave the parameter out without being a mistake.
func (p Parameter) Optional() bool { return strings.HasPrefix(p.Type, "...") }

// Parameters returns the parameters of a signature, such as "(x, y int, name string) (sum int)", before which
// may be the method's name. A parameter without a name is called by its position: arg0, arg1 and so on. ok is false if
// the signature can't be read.
func Parameters(signature string) (list []Parameter, ok bool) {
	elements, ok := Elements(signature)
	named := false
	for _, element := range elements {
		name, typ, two := strings.Cut(element, " ")
		if two && isIdentifier(name) {
			named = true
			list = append(list, Parameter{name, strings.TrimSpace(typ)})
		} else {
			list = append(list, Parameter{"", element})
		}
	}
	typ := ""
	for i := len(list) - 1; i >= 0; i-- {
		p := &list[i]
		if named && p.Name == "" { // it has the type of the next one
			p.Name, p.Type = p.Type, typ
		}
		if typ = p.Type; p.Name == "" || p.Name == "_" {
			p.Name = "arg" + strconv.Itoa(i)
		}
	}
	return list, ok
}

func isIdentifier(s string) bool {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return s != ""
}

// Elements returns the elements of the first list in parentheses of a signature. ok is false if there is none.
func Elements(signature string) (list []string, ok bool) {
	name, rest, ok := strings.Cut(signature, "(")
	if !ok || name != "" && !isIdentifier(name) {
		return nil, false
	}
	depth, begin := 0, 0
	add := func(end int) {
		if element := strings.TrimSpace(rest[begin:end]); element != "" {
			list = append(list, element)
		}
		begin = end + 1
	}
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			if depth--; depth < 0 {
				add(i)
				return list, true
			}
		case ',':
			if depth == 0 {
				add(i)
			}
		case '"', '`': // the tag of a field
			i += quotedLength(rest[i:]) - 1
		}
	}
	return nil, false // the signature has no end
}

// quotedLength returns the length of the string literal that a text begins with.
func quotedLength(s string) int {
	if prefix, err := strconv.QuotedPrefix(s); err == nil {
		return len(prefix)
	}
	return 1
}

// Argument returns the JSON of an argument that a person has typed. If the type is a string, all texts are strings,
// and a JSON string is itself. A duration may be typed as such. Otherwise a text is JSON if it is valid, and else a string.
func Argument(value, typ string) json.RawMessage {
	var isString *string
	switch strings.TrimPrefix(typ, "*") {
	case "string":
		if json.Unmarshal([]byte(value), &isString) == nil && isString != nil {
			return json.RawMessage(value)
		}
		return jsonOf(value)
	case "time.Duration":
		if d, err := time.ParseDuration(value); err == nil {
			return jsonOf(int64(d))
		}
	}
	if json.Valid([]byte(value)) {
		return json.RawMessage(value)
	}
	return jsonOf(value)
}

// jsonOf returns the JSON of a string or a number.
func jsonOf(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers can be encoded
	}
	return raw
}
