// Package text writes what the command af prints: tables, colors, times and numbers.
//
// Texts that come from a system, such as the message of an error, are not trusted: [Clean] makes what a terminal would
// execute visible. Tables clean their cells.
package text

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// A Printer is where a command prints, and what can be printed there.
type Printer struct {
	io.Writer
	Width    int  // columns of the terminal; 0 if the output is no terminal: nothing is cut then
	Color    bool // colors may be used
	Terminal bool // a person looks at it: progress bars and live pages are possible
}

// A Style is how a text looks. The zero Style is plain.
type Style string

// The styles. A status never depends on its color alone: the word is always printed.
const (
	Plain  Style = ""
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Blue   Style = "34"
)

// Styled returns a text in a style, or the text itself if the printer has no colors.
func (p *Printer) Styled(s Style, text string) string {
	if !p.Color || s == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// Clean returns a text in which everything that a terminal does not print is replaced: line breaks and tabs by spaces;
// other control characters, invalid UTF-8, and invisible marks, such as those that change the direction of text, by a
// replacement character. The joiners of emoji and of some scripts stay.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r', r == '\u2028' || r == '\u2029':
			return ' '
		case unprintable(r):
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}

// unprintable reports whether a terminal does not print a character, or may execute it.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && r != '\u200c' && r != '\u200d' // joiners
}

// CleanJSON returns the same JSON, with what [Clean] replaces in texts written as escapes. Line breaks between values
// stay.
func CleanJSON(value []byte) []byte {
	plain := func(r rune) bool { return r == '\n' || !unprintable(r) }
	if !bytes.ContainsFunc(value, func(r rune) bool { return !plain(r) }) {
		return value
	}
	out := make([]byte, 0, len(value)+16)
	for _, r := range string(value) {
		switch {
		case plain(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
