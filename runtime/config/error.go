package config

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// An Error is one problem of a configuration file. [Parse] and [Load] join all problems of a file, sorted by
// position; errors.As finds the first.
type Error struct {
	// File is the name passed to Parse or Load.
	File string
	// Line and Column count from 1; Column counts characters. For invalid YAML the parser reports only the line, and
	// Column is 1.
	Line, Column int
	// Key is the dotted path of the key, such as "redis.port", or "" if the problem isn't about a key.
	Key string
	// Message is one line that is complete without Key. It never contains a secret or the value of an environment
	// variable.
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

// A position is a place in the file, counted from 1.
type position struct{ line, column int }

// A problem is an Error before the value is checked for secrets.
type problem struct {
	at      position
	key     string
	message string
	// value is the offending text. It is printed only if it has nothing in common with any secret of the file.
	value string
}

// join joins problems into one error, or returns nil. It omits the value of a problem if it overlaps with a secret,
// which happens if a secret is written under the wrong key.
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
