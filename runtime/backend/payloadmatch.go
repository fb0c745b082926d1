package backend

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// matches reports whether a payload, which is valid JSON, meets the condition. It reads the payload once, up to the end
// of the value, however deep the path is.
func (p *PayloadMatch) matches(payload json.RawMessage) bool {
	value := []byte(payload)
	for name := range strings.SplitSeq(p.Path, ".") {
		if value = member(value, name); value == nil {
			return false
		}
	}
	value = value[:valueEnd(value, 0)]
	switch value[0] {
	case '"':
		var text string
		return json.Unmarshal(value, &text) == nil && text == p.Value
	case '{', '[':
		return bytes.Equal(compact(value), compact([]byte(p.Value)))
	}
	return string(value) == strings.TrimSpace(p.Value)
}

// compact returns JSON without white space, or nil if it is invalid.
func compact(value []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return nil
	}
	return b.Bytes()
}

// member returns the text from the first member of that name on, or from the element of that index on, of the object or
// array at the beginning of valid JSON. It is nil if there is none.
func member(b []byte, name string) []byte {
	i := space(b, 0)
	object, index := b[i] == '{', uint64(0)
	if !object {
		var err error
		if index, err = strconv.ParseUint(name, 10, 32); b[i] != '[' || err != nil {
			return nil
		}
	}
	i = space(b, i+1)
	for n := uint64(0); b[i] != '}' && b[i] != ']'; n++ {
		found := n == index
		if object {
			end := stringEnd(b, i)
			found = isString(b[i:end], name)
			i = space(b, space(b, end)+1) // the colon
		}
		if found {
			return b[i:]
		}
		if i = space(b, valueEnd(b, i)); b[i] == ',' {
			i = space(b, i+1)
		}
	}
	return nil
}

// isString reports whether a JSON string is text.
func isString(quoted []byte, text string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 && utf8.Valid(quoted) {
		return string(quoted[1:len(quoted)-1]) == text
	}
	var s string
	return json.Unmarshal(quoted, &s) == nil && s == text
}

// space returns the index of the first byte from i on that is no white space.
func space(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r' {
		i++
	}
	return i
}

// stringEnd returns the index after the string at i.
func stringEnd(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// valueEnd returns the index after the value at i.
func valueEnd(b []byte, i int) int {
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		for depth := 0; ; {
			switch b[i] {
			case '"':
				i = stringEnd(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(b) && !strings.ContainsRune(",]} \t\n\r", rune(b[i])) {
		i++
	}
	return i
}
