package cli

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A parameter is one of a method, as its signature names it.
type parameter struct {
	name string // the member of the arguments
	typ  string // Go's spelling
}

// optional reports whether a call may leave the parameter out without being a mistake.
func (p parameter) optional() bool { return strings.HasPrefix(p.typ, "...") }

// parameters returns the parameters of a signature, such as "(x, y int, name string) (sum int)", before which
// may be the method's name. A parameter without a
// name is called by its position: arg0, arg1 and so on.
func parameters(signature string) []parameter {
	var list []parameter
	named := false
	for _, element := range signatureElements(signature) {
		name, typ, ok := strings.Cut(element, " ")
		if ok = ok && isIdentifier(name); ok {
			named = true
			list = append(list, parameter{name, strings.TrimSpace(typ)})
		} else {
			list = append(list, parameter{"", element})
		}
	}
	typ := ""
	for i := len(list) - 1; i >= 0; i-- {
		p := &list[i]
		if named && p.name == "" { // it has the type of the next one
			p.name, p.typ = p.typ, typ
		}
		if typ = p.typ; p.name == "" || p.name == "_" {
			p.name = "arg" + strconv.Itoa(i)
		}
	}
	return list
}

func isIdentifier(s string) bool {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return s != ""
}

// signatureElements returns the elements of the first list in parentheses of a signature.
func signatureElements(signature string) []string {
	name, rest, ok := strings.Cut(signature, "(")
	if !ok || name != "" && !isIdentifier(name) {
		return nil
	}
	var list []string
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
				return list
			}
		case ',':
			if depth == 0 {
				add(i)
			}
		case '"', '`': // the tag of a field
			i += quotedLength(rest[i:]) - 1
		}
	}
	return nil // the signature has no end
}

// quotedLength returns the length of the string literal that a text begins with.
func quotedLength(s string) int {
	if prefix, err := strconv.QuotedPrefix(s); err == nil {
		return len(prefix)
	}
	return 1
}

// argumentOf returns the JSON of an argument that a person has typed. If the type is a string, all texts are strings,
// and a JSON string is itself. A duration may be typed as such. Otherwise a text is JSON if it is valid, and else a string.
func argumentOf(value, typ string) json.RawMessage {
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
