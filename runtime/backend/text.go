package backend

import (
	"strings"
	"unicode/utf8"
)

// MaxID is how many bytes the id of a task may have. Those of subtasks are longer than their source's.
const MaxID = 16 << 10

// ValidID reports whether every store and transport keeps an id as it is: it is not empty, not too long, UTF-8, and without
// NUL bytes. What comes from a wire is checked with it before a store is asked.
func ValidID(id string) bool {
	return id != "" && len(id) <= MaxID && utf8.ValidString(id) && strings.IndexByte(id, 0) < 0
}

// Text returns s as any store takes it: valid UTF-8, and at most max bytes long, cut between two runes with "…" at its end.
func Text(s string, max int) string {
	if len(s) > max {
		const more = "…"
		end := max - len(more)
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + more
	}
	if s = strings.ToValidUTF8(s, string(utf8.RuneError)); len(s) > max { // what was replaced is longer
		return Text(s, max)
	}
	return s
}
