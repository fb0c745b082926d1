package main

import (
	"fmt"
	"os"
	"strings"
)

// These lines enclose the section of a document for the table.
const (
	recordBegin = "<!-- the last run of make bench-peers -->\n"
	recordEnd   = "<!-- end -->\n"
)

// record writes the table into a document.
func record(file, table string) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(doc), recordBegin)
	_, after, closed := strings.Cut(rest, recordEnd)
	if !ok || !closed {
		return fmt.Errorf("%s has no place for the table, which would be between %q and %q", file, recordBegin, recordEnd)
	}
	return os.WriteFile(file, []byte(before+recordBegin+table+recordEnd+after), 0o644)
}
