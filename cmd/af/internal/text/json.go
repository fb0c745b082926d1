package text

import (
	"encoding/json"
	"iter"
	"strings"
)

// maxIndent is how many levels of JSON are indented: deeper ones would take more space than what they have.
const maxIndent = 32

// Lines returns the lines of a JSON value, indented and cleaned. A text that is not JSON is returned by its own lines.
// Lines that the caller does not take cost nothing.
func Lines(value []byte) iter.Seq[string] {
	if !json.Valid(value) {
		return func(yield func(string) bool) {
			for line := range strings.Lines(string(value)) {
				if !yield(Clean(strings.TrimRight(line, "\r\n"))) {
					return
				}
			}
		}
	}
	return func(yield func(string) bool) { indent(value, yield) }
}

// indent yields the lines of valid JSON.
func indent(value []byte, yield func(string) bool) {
	var line []byte
	depth := 0
	// end ends the line, and begins the next one.
	end := func() bool {
		ok := yield(Clean(string(line)))
		line = append(line[:0], strings.Repeat("  ", min(depth, maxIndent))...)
		return ok
	}
	for i := 0; i < len(value); i++ {
		switch b := value[i]; b {
		case ' ', '\t', '\r', '\n':
		case '"':
			begin := i
			for i++; value[i] != '"'; i++ {
				if value[i] == '\\' {
					i++
				}
			}
			line = append(line, value[begin:i+1]...)
		case '{', '[':
			line = append(line, b)
			if next := skipSpace(value, i+1); value[next] == b+2 { // } and ] are two after { and [
				line = append(line, b+2)
				i = next
				continue
			}
			depth++
			if !end() {
				return
			}
		case '}', ']':
			depth--
			if !end() {
				return
			}
			line = append(line, b)
		case ',':
			line = append(line, b)
			if !end() {
				return
			}
		case ':':
			line = append(line, ": "...)
		default:
			line = append(line, b)
		}
	}
	yield(Clean(string(line)))
}

func skipSpace(value []byte, i int) int {
	for strings.IndexByte(" \t\r\n", value[i]) >= 0 {
		i++
	}
	return i
}

// Wrap returns the lines of a text, cleaned and broken between words, of at most width columns if the words allow it.
// Zero is no limit.
func Wrap(s string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(Clean(s)) {
		switch {
		case line == "":
			line = word
		case width <= 0 || Width(line)+1+Width(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
