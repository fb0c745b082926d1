// Package diag describes mistakes: where one is, what it is called, how it is shown and how to fix it.
//
// A Diagnostic is data: a Code from the catalogue, a Pos, the number of bytes to underline, a message that says what is
// wrong and a hint that says what to do. Every phase of the generator returns a List and continues, so that one run
// reports everything; nothing is printed before the end. At the end the command sorts the List and hands it to
// Render, for people, or to JSON, for machines.
//
// Render shows, as compilers do, the place, then the line and carets under it:
//
//	shop/calc.go:12:20: AF0105: //af:rpc has no key "timout"
//	  12 | //af:rpc name=calc timout=5s
//	     |                    ^^^^^^
//	  hint: did you mean "timeout"? It takes name, timeout, concurrency and client.
//
// Source lines come from files of unknown authors, so whatever is not printable reaches a terminal only as
// an escape such as \x1b.
//
// The catalogue has one Entry per Code: a title, an explanation and an example before and after, which is what
// `afgen explain CODE` prints. A Code is never reused for something else once released. Its first two digits tell its
// family: 01 directives, 02 annotated types, 03 methods and what they carry, 04 workers, 05 files and packages, 09 afgen
// itself.
//
// Suggest finds what the user meant to type; hints are made with it.
//
// The package knows nothing of Go's type checker: positions are plain data, counted as go/token counts them.
package diag

import (
	"cmp"
	"slices"
)

// A Pos is a place in a file. The zero Pos means no place at all, Line 0 the file as a whole.
type Pos struct {
	File   string // absolute, or relative to the working directory
	Line   int    // from 1
	Column int    // in bytes, from 1; 0 means the line as a whole
}

// A Code names one kind of mistake: AF and four digits.
type Code string

// A Diagnostic is one mistake at one place.
type Diagnostic struct {
	Code Code
	Pos  Pos
	// Width is how many bytes to underline, from Pos on; less than 1 counts as 1.
	Width int
	// Message says what is wrong, in a phrase without a full stop.
	Message string
	// Hint says how to fix it; it may be empty.
	Hint string
	// Warning marks what does not keep afgen from writing.
	Warning bool
}

// A List is the diagnostics of a run or of a part of it, in any order.
type List []Diagnostic

// Sort orders the list by file, line, column, code and message, and removes what would be reported twice: of those
// alike in all five it keeps one, always the same.
func (l *List) Sort() {
	slices.SortFunc(*l, func(a, b Diagnostic) int {
		return cmp.Or(compare(a, b), cmp.Compare(a.Width, b.Width), cmp.Compare(a.Hint, b.Hint))
	})
	*l = slices.CompactFunc(*l, func(a, b Diagnostic) bool { return compare(a, b) == 0 })
}

func compare(a, b Diagnostic) int {
	return cmp.Or(
		cmp.Compare(a.Pos.File, b.Pos.File),
		cmp.Compare(a.Pos.Line, b.Pos.Line),
		cmp.Compare(a.Pos.Column, b.Pos.Column),
		cmp.Compare(a.Code, b.Code),
		cmp.Compare(a.Message, b.Message),
	)
}
