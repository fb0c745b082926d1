package directive

import (
	"strings"
	"unicode"
)

// NameRule is the rule that [ValidName] checks, in words.
const NameRule = "a name begins with a letter and contains letters (a-z, A-Z), digits, _, - and single dots, " +
	"at most 100 bytes"

// ValidName reports whether name is valid for a service, method, worker or job. See [NameRule]; the last byte must not
// be a dot. Names derived from Go identifiers may be invalid, because identifiers may have letters outside ASCII.
func ValidName(name string) bool {
	if len(name) == 0 || len(name) > 100 || !letter(name[0]) ||
		strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !wordByte(c) && c != '.' {
			return false
		}
	}
	return true
}

// wordByte reports whether c may be part of a word, such as the name of a directive.
func wordByte(c byte) bool {
	return letter(c) || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// SnakeCase returns a Go name in lower case with its words separated by underscores: http_server for HTTPServer,
// user_v2 for UserV2. A word begins at an upper-case letter that follows a character of another kind or precedes a
// lower-case letter. Letters outside ASCII are kept in lower case. Names in snake case are unchanged.
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
