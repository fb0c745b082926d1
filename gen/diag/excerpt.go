package diag

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// excerptColumns is the maximum width of an excerpt. Longer lines are cut.
const excerptColumns = 120

// A cell is one character of a source line as it is printed.
type cell struct {
	text  string
	width int // columns on a terminal
	at    int // offset in the line, in bytes
}

// excerpt returns the line with its number, followed by a line of carets if p has a column.
func excerpt(line string, p Pos, width int) string {
	number := strconv.Itoa(p.Line)
	gutter := "  " + strings.Repeat(" ", len(number)) + " | "
	cells := cellsOf(line)
	from, to := underlined(cells, len(line), p.Column, width)
	first, last := window(cells, from, to)

	var shown strings.Builder
	if first > 0 {
		shown.WriteString("...")
	}
	for _, c := range cells[first:last] {
		shown.WriteString(c.text)
	}
	if last < len(cells) {
		shown.WriteString("...")
	}
	out := strings.TrimRight("  "+number+" | "+shown.String(), " \t") + "\n"
	if p.Column < 1 {
		return out
	}
	padding := ""
	if first > 0 {
		padding = "   "
	}
	for _, c := range cells[first:from] {
		padding += c.padding()
	}
	return out + gutter + padding + carets(cells[from:max(from, min(to, last))]) + "\n"
}

// padding returns spaces as wide as the cell. A tab's padding is a tab, because its width depends on the terminal.
func (c cell) padding() string {
	if c.text == "\t" {
		return c.text
	}
	return strings.Repeat(" ", c.width)
}

// carets returns the underline of cells, which has at least one caret, even at the end of a line.
func carets(cells []cell) string {
	var b strings.Builder
	for i, c := range cells {
		switch {
		case c.text != "\t":
			b.WriteString(strings.Repeat("^", c.width))
		case i+1 < len(cells):
			b.WriteByte('\t')
		}
	}
	if s := b.String(); strings.HasSuffix(s, "^") {
		return s
	}
	return b.String() + "^"
}

// underlined returns the range [from, to) of cells that contain the width bytes at column. A column after the end
// counts as the end.
func underlined(cells []cell, length, column, width int) (from, to int) {
	start := min(max(column-1, 0), length)
	end := start + min(max(width, 1), length-start)
	for from+1 < len(cells) && cells[from+1].at <= start {
		from++
	}
	if start >= length {
		from = len(cells)
	}
	to = from
	for to < len(cells) && cells[to].at < end {
		to++
	}
	return from, to
}

// window returns the range [first, last) of cells to print: all if they fit, otherwise those around the underlined
// ones.
func window(cells []cell, from, to int) (first, last int) {
	room := excerptColumns
	for _, c := range cells {
		room -= c.width
	}
	if room >= 0 {
		return 0, len(cells)
	}
	room = excerptColumns - len("...")*2
	first, last = from, from
	fits := func(c cell) bool { room -= c.width; return room >= 0 }
	for last < to && room > excerptColumns/4 && fits(cells[last]) { // leave space for cells before it
		last++
	}
	for grown := true; grown; {
		grown = false
		if first > 0 && fits(cells[first-1]) {
			first--
			grown = true
		}
		if last < len(cells) && fits(cells[last]) {
			last++
			grown = true
		}
	}
	return first, last
}

// cellsOf splits a line into cells. It escapes all characters except tabs and printable ones.
func cellsOf(line string) []cell {
	cells := make([]cell, 0, len(line))
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRuneInString(line[i:])
		text := line[i : i+size]
		width := columns(r)
		switch {
		case r == '\t':
			width = 8 // at most
		case r == utf8.RuneError && size == 1, !unicode.IsPrint(r):
			text = escape(r, line[i])
			width = len(text)
		}
		cells = append(cells, cell{text, width, i})
		i += size
	}
	return cells
}

// printable escapes all characters of s except tabs and printable ones.
func printable(s string) string {
	var b strings.Builder
	for _, c := range cellsOf(s) {
		b.WriteString(c.text)
	}
	return b.String()
}

// escape returns the Go escape sequence of the rune r, or of the byte first if r is not valid UTF-8.
func escape(r rune, first byte) string {
	if r == utf8.RuneError || r < utf8.RuneSelf {
		return `\x` + hex(uint64(first), 2)
	}
	if r > 0xffff {
		return `\U` + hex(uint64(r), 8)
	}
	return `\u` + hex(uint64(r), 4)
}

func hex(n uint64, digits int) string {
	s := strconv.FormatUint(n, 16)
	return strings.Repeat("0", digits-len(s)) + s
}

// columns estimates the width of a printable rune on a terminal: 0 for combining marks, 2 for East Asian wide
// characters and emoji, otherwise 1.
func columns(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		r >= 0x3000 && r <= 0x303f, // punctuation
		r >= 0xff01 && r <= 0xff60, // full-width forms
		r >= 0x1f300 && r <= 0x1faff:
		return 2
	}
	return 1
}
