// Package text writes what the command af prints: tables, colors, times and numbers.
//
// Texts that come from a system, such as the message of an error, are not trusted: [Clean] makes what a terminal would
// execute visible. Tables clean their cells.
package text

import (
	"io"
	"strings"
	"unicode"
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

// Clean returns a text in which everything that is not printable is replaced: line breaks and tabs by spaces, other
// control characters, invalid UTF-8 and marks that change the direction of text by a replacement character.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == unicode.ReplacementChar:
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}
