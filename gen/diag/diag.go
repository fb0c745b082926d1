// Package diag defines the problems that afgen reports, and prints them.
//
// A [Diagnostic] has a [Code] from the catalogue, a [Pos], a message and a hint. Each phase of the generator returns a
// [List] and continues, so that one run reports all problems. At the end, the command sorts the list and prints it with
// [Render] for people or [JSON] for programs.
//
// Render prints the position and message, the source line with carets below it, and the hint:
//
//	shop/calc.go:12:20: AF0105: //af:rpc has no key "timout"
//	  12 | //af:rpc name=calc timout=5s
//	     |                    ^^^^^^
//	  hint: did you mean "timeout"? It takes name, timeout, concurrency and client.
//
// Source files are not trusted: unprintable characters are printed as escapes such as \x1b.
//
// The catalogue has an [Entry] for each Code, which `afgen explain CODE` prints. A released Code is never reused. Its
// first two digits are its family: 01 directives, 02 annotated types, 03 methods and their types, 04 workers, 05 files
// and packages, 09 afgen itself.
//
// [Suggest] finds the word that a misspelled one was probably meant to be, for hints.
package diag

import (
	"cmp"
	"slices"
)

// A Pos is a position in a file. The zero Pos is no position. If only Line is 0, it is the whole file.
type Pos struct {
	File   string // absolute, or relative to the working directory
	Line   int    // from 1
	Column int    // in bytes, from 1; 0 is the whole line
}

// A Code identifies a kind of problem. It is AF and four digits.
type Code string

// A Diagnostic is one problem at one position.
type Diagnostic struct {
	Code Code
	Pos  Pos
	// Width is the number of bytes to underline, starting at Pos. Values below 1 count as 1.
	Width int
	// Message describes the problem, without a final period.
	Message string
	// Hint describes how to fix it. It may be empty.
	Hint string
	// Warning is set if afgen writes its output anyway.
	Warning bool
}

// A List holds the diagnostics of a run or a part of one, in any order.
type List []Diagnostic

// Sort sorts the list by file, line, column, code and message. Of diagnostics that are equal in all five, it keeps one.
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
