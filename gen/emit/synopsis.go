package emit

import (
	"strings"
	"unicode/utf8"

	"github.com/dave/jennifer/jen"
)

const (
	maxSynopsis = 1 << 10 // bytes; the runtime cuts what is longer
	maxPiece    = 90      // bytes of a line of a text, unless a word is longer
)

// synopsis returns the first paragraph of a doc comment in one line.
func synopsis(doc string) string {
	var words []string
	for line := range strings.Lines(doc) {
		fields := strings.Fields(line)
		if len(fields) == 0 && words != nil {
			break
		}
		words = append(words, fields...)
	}
	text := strings.ToValidUTF8(strings.Join(words, " "), "\uFFFD")
	if len(text) <= maxSynopsis {
		return text
	}
	const more = "…"
	end := maxSynopsis - len(more)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + more
}

// text returns the code of a string: one literal, or several on lines of their own if it is long.
func text(s string) jen.Code {
	code := jen.Empty()
	for first := true; ; first = false {
		if !first {
			code = code.Op("+").Line()
		}
		end := len(s)
		if end > maxPiece {
			if end = strings.LastIndexByte(s[:maxPiece], ' ') + 1; end == 0 {
				end = strings.IndexByte(s, ' ') + 1
			}
		}
		if end == 0 || end == len(s) {
			return code.Add(jen.Lit(s))
		}
		code = code.Add(jen.Lit(s[:end]))
		s = s[end:]
	}
}
