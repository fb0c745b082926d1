package directive

import (
	"strings"
	"unicode"
)

// NameRule says in words what ValidName checks.
const NameRule = "a name begins with a letter and has letters (a-z, A-Z), digits, _, - and single dots, at most 100 bytes"

// ValidName reports whether name may name a service, a method, a worker or a job: see NameRule. The end is no place for
// a dot. Names made from Go identifiers may fail it, since those may have any letters of Unicode.
func ValidName(name string) bool {
	if len(name) == 0 || len(name) > 100 || !letter(name[0]) || strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !wordByte(c) && c != '.' {
			return false
		}
	}
	return true
}

// wordByte reports whether c may be part of a word: of a directive's name, for instance.
func wordByte(c byte) bool {
	return letter(c) || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// SnakeCase returns a Go name in lower case with its words separated by underscores: HTTPServer becomes http_server,
// UserV2 user_v2. A word begins with an upper-case letter that follows another kind of character, or that comes before a
// lower-case one. Letters other than ASCII are kept, in lower case. Names in snake case are returned as they are.
func SnakeCase(goName string) string {
	runes := []rune(goName)
	var b strings.Builder
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) && runes[i-1] != '_' {
			if !unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]) {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
