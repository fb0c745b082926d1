package config

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// An Error is one problem of a configuration file. What [Parse] and [Load] return joins all those of a file, sorted by
// position; errors.As finds the first.
type Error struct {
	// File is the name as given to Parse or Load.
	File string
	// Line and Column count from 1, Column in characters. Where the YAML itself is broken, its parser tells only the
	// line, and Column is 1.
	Line, Column int
	// Key is the dotted path of the key concerned, such as "redis.port", or "" where the problem is not about one.
	Key string
	// Message is one line that is understandable without Key. It never contains a secret, nor the value of an
	// environment variable.
	Message string
}

// Error returns File:Line:Column: Message.
func (e *Error) Error() string {
	at := strconv.Itoa(e.Line) + ":" + strconv.Itoa(e.Column) + ": "
	if e.File != "" {
		at = e.File + ":" + at
	}
	return at + e.Message
}

// A position is a place in the file, from 1.
type position struct{ line, column int }

// A problem is an Error in the making.
type problem struct {
	at      position
	key     string
	message string
	// value is the offending text. Whether it may be shown is known only once every secret of the file is.
	value string
}

// join makes one error of problems, or nil. The value of a problem is shown unless it has something in common with one
// of the secrets: then the two were written in the wrong place, by hand or by an alias.
func join(file string, problems []problem, secrets []string) error {
	slices.SortStableFunc(problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.column, b.at.column))
	})
	var errs []error
	for _, p := range problems {
		if p.value != "" && len(p.value) <= 40 && !overlaps(p.value, secrets) {
			p.message += ", not " + strconv.Quote(p.value)
		}
		errs = append(errs, &Error{File: file, Line: p.at.line, Column: p.at.column, Key: p.key, Message: p.message})
	}
	return errors.Join(errs...)
}

func overlaps(value string, secrets []string) bool {
	return slices.ContainsFunc(secrets, func(s string) bool {
		return strings.Contains(value, s) || strings.Contains(s, value)
	})
}
