package emit

import (
	"unicode/utf8"

	"github.com/dave/jennifer/jen"
)

// maxLine is the width, with tabs counted as four columns, above which a list is broken into lines.
const maxLine = 120

// An element is one of a list: its code, and how many columns that takes. Jennifer neither breaks long lines nor
// measures code, so both are ours.
type element struct {
	code  jen.Code
	width int
}

// A spelling is the text of an element or other code that recurs: a name, a type or both.
type spelling struct {
	name string // "" for a type
	typ  string // "" for an identifier or selector, and if it follows a later name, like that of x in x, y int
}

func (s spelling) String() string {
	if s.name == "" || s.typ == "" {
		return s.name + s.typ
	}
	return s.name + " " + s.typ
}

func (s spelling) width() int {
	width := columns(s.name, s.typ)
	if s.name != "" && s.typ != "" {
		width += len(" ")
	}
	return width
}

// element returns the element that s spells, and calls build for its code unless an earlier one has the same spelling.
// As they share the code, none may append to it.
func (w *writer) element(s spelling, build func() jen.Code) element {
	e, ok := w.known[s]
	if !ok {
		e = element{build(), s.width()}
		w.known[s] = e
	}
	return e
}

func (w *writer) identifier(name string) element {
	return w.element(spelling{name: name}, func() jen.Code { return jen.Id(name) })
}

// selector returns x.name.
func (w *writer) selector(x, name string) element {
	return w.element(spelling{name: x + "." + name}, func() jen.Code { return jen.Id(x).Dot(name) })
}

// columns returns the width of texts in a row.
func columns(texts ...string) (sum int) {
	for _, text := range texts {
		sum += utf8.RuneCountInString(text)
	}
	return sum
}

// list returns elements between brackets: on one line if that fits together with the others columns of the line,
// otherwise on lines of their own, each with as many elements as fit.
func list(opening string, elements []element, closing string, others int) *jen.Statement {
	options := jen.Options{Open: opening, Close: closing, Separator: ","}
	if len(elements) == 0 || others+len(opening)+width(elements)+len(closing) <= maxLine {
		return jen.Custom(options, codes(elements)...)
	}
	const indent = 8
	var lines []jen.Code
	first, column := 0, indent
	for i, e := range elements {
		withComma := e.width + len(", ")
		if column+withComma > maxLine && i > first {
			lines = append(lines, jen.List(codes(elements[first:i])...))
			first, column = i, indent
		}
		column += withComma
	}
	options.Multi = true
	return jen.Custom(options, append(lines, jen.List(codes(elements[first:])...))...)
}

// width returns the width of at least one element on one line.
func width(elements []element) int {
	sum := len(", ") * (len(elements) - 1)
	for _, e := range elements {
		sum += e.width
	}
	return sum
}

func codes(elements []element) []jen.Code {
	list := make([]jen.Code, len(elements))
	for i, e := range elements {
		list[i] = e.code
	}
	return list
}
