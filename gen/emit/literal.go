package emit

import (
	"go/token"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// exported makes the name of an exported field of the name of a member.
func exported(member string) string {
	first, size := utf8.DecodeRuneInString(member)
	if name := string(unicode.ToUpper(first)) + member[size:]; token.IsExported(name) {
		return name
	}
	return "X" + member
}

// duration spells d exactly, in the largest unit that divides it.
func (w *writer) duration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	units := []struct {
		size time.Duration
		name string
	}{
		{time.Hour, "Hour"},
		{time.Minute, "Minute"},
		{time.Second, "Second"},
		{time.Millisecond, "Millisecond"},
		{time.Microsecond, "Microsecond"},
		{time.Nanosecond, "Nanosecond"},
	}
	i := 0
	for d%units[i].size != 0 {
		i++
	}
	unit := w.qualify("time", units[i].name)
	if n := int64(d / units[i].size); n != 1 {
		return strconv.FormatInt(n, 10) + " * " + unit
	}
	return unit
}

// maxLine is the width, tabs counted as four, beyond which a list is broken into lines.
const maxLine = 120

// list spells items between brackets: on one line where that is short enough with the other columns of the line, else
// on lines of their own, as many items on each as fit.
func list(open string, items []string, shut string, others int) string {
	line := open + strings.Join(items, ", ") + shut
	if len(items) == 0 || others+utf8.RuneCountInString(line) <= maxLine {
		return line
	}
	const indent = 8
	var b strings.Builder
	b.WriteString(open)
	column := maxLine
	for _, item := range items {
		width := utf8.RuneCountInString(item) + len(", ")
		if column+width > maxLine {
			b.WriteByte('\n')
			column = indent
		}
		b.WriteString(item + ", ")
		column += width
	}
	return b.String() + "\n" + shut
}
