package backend

import (
	"strings"
	"unicode/utf8"
)

// MaxID is the maximum length of a task id, in bytes. Ids of subtasks are longer than their source's.
const MaxID = 16 << 10

// ValidID reports whether all stores and transports accept an id: it is valid UTF-8 of 1 to MaxID bytes, without NUL
// bytes. Ids received from a wire are checked with it first.
func ValidID(id string) bool {
	return id != "" && len(id) <= MaxID && utf8.ValidString(id) && strings.IndexByte(id, 0) < 0
}

// Text makes s acceptable to all stores: it replaces invalid UTF-8 and truncates s to max bytes, at a rune boundary and
// with a final "…". max must be at least 3.
func Text(s string, max int) string {
	if len(s) > max {
		const more = "…"
		end := max - len(more)
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + more
	}
	if s = strings.ToValidUTF8(s, string(utf8.RuneError)); len(s) > max { // the replacement is longer
		return Text(s, max)
	}
	return s
}
