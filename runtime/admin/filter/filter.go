// Package filter parses the line by which people select tasks, in the command af and in the dashboard:
//
//	queue:resize status:failed,stopped since:1h text:"disk full" payload.user.id=7
//
// A line has terms separated by white space, all of which must hold. A term is key:value, or a condition on the payload
// or the metadata: payload.PATH=value, metadata.NAME=value. [Keys] lists the keys. A value with white space is quoted as
// in Go, and so is a path or name if it has white space or an equals sign. A line without terms selects all tasks. A key
// is given once, except for status, whose values add up, and payload and metadata, whose conditions must all hold.
//
// # Status
//
// A status is one or several of those of tasks, separated by commas. live means all that are not final, and ended those
// that are. A code is that of a failed task, so code:unavailable implies status:failed.
//
// # Times
//
// since and before refer to the time at which a task was created. They have a duration before now (90s, 30m, 1h30m, 2d,
// 1w), a date (2026-11-30), or a date and a time, as in RFC 3339 or without a zone (2026-11-30T02:15). Without a zone
// they are in the location of now. Years are 1970 to 2115.
//
// # Bounds
//
// A line has at most 4 KiB and 50 terms. The conditions text, instance, unique, retry-of, id, payload and metadata have
// no index: see [af.TaskPage] for how far a page looks.
//
// # Safety
//
// [Format] escapes what is not printable, so its lines are safe on a terminal. Errors quote what they cite in the same
// way.
package filter

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	af "github.com/afgen/afgen/runtime"
)

// Bounds of a line.
const (
	maxLine  = 4 << 10 // bytes
	maxTerms = 50
)

// Parse returns the query that a line describes. Durations, as in since:1h, are before now. The query has no Limit,
// Bytes and Cursor. The error is [af.ErrInvalidArgument], names the term and its column, counted in characters from 1,
// and suggests the nearest key or value.
func Parse(line string, now time.Time) (af.TaskQuery, error) {
	terms, err := split(line)
	if err != nil {
		return af.TaskQuery{}, err
	}
	p := parser{now: now, given: map[string]bool{}}
	for _, t := range terms {
		if err := p.add(t); err != nil {
			return af.TaskQuery{}, t.errorf("%w", err)
		}
	}
	if p.code != nil {
		if err := p.addCode(); err != nil {
			return af.TaskQuery{}, p.code.errorf("%w", err)
		}
	}
	slices.SortFunc(p.query.Statuses, func(a, b af.Status) int {
		return slices.Index(statuses, a) - slices.Index(statuses, b)
	})
	checked := p.query // Check sets what is not given
	if err := checked.Check(); err != nil {
		return af.TaskQuery{}, err
	}
	if n := len(Format(p.query)); n > maxLine { // what is not printable becomes longer
		return af.TaskQuery{}, refused("a filter of %d bytes, with escapes, exceeds the maximum of %d", n, maxLine)
	}
	return p.query, nil
}

// Format returns a line that Parse parses into q, without its Limit, Bytes and Cursor. Times are absolute and in UTC. q
// must be one that Parse can return: an unknown status, or a time outside the years 1970 to 2115, yields a line that
// Parse refuses.
func Format(q af.TaskQuery) string {
	var terms []string
	for _, k := range keys {
		for _, value := range k.format(&q) {
			terms = append(terms, k.Prefix+value)
		}
	}
	return strings.Join(terms, " ")
}

// Join returns the line that the arguments of a command make. A shell has removed the quotes from text:"disk full", so
// an argument with white space that is no line by itself is one term, and its value is quoted again.
func Join(args []string) string {
	terms := make([]string, len(args))
	for i, arg := range args {
		terms[i] = arg
		if _, err := split(arg); err != nil {
			terms[i] = requote(arg)
		}
	}
	return strings.Join(terms, " ")
}

// requote returns an argument as a term whose value is quoted, or the argument if it is more than one term, or none.
func requote(arg string) string {
	words := strings.Fields(arg)
	if len(words) < 2 || slices.ContainsFunc(words[1:], beginsTerm) {
		return arg
	}
	for _, prefix := range []string{payloadPrefix, metadataPrefix} {
		if condition, ok := strings.CutPrefix(arg, prefix); ok {
			path, value, _ := strings.Cut(condition, "=")
			return prefix + quotePath(path) + "=" + strconv.Quote(value)
		}
	}
	if name, value, ok := strings.Cut(arg, ":"); ok && beginsTerm(arg) {
		return name + ":" + strconv.Quote(value)
	}
	return arg
}

// beginsTerm reports whether a text begins with a key.
func beginsTerm(s string) bool {
	return slices.ContainsFunc(keys, func(k *key) bool { return strings.HasPrefix(s, k.Prefix) })
}

// A term is a term of a line.
type term struct {
	text   string // as it is written
	column int
	key    *key
	path   string // of a payload condition
	value  string
}

func (t *term) errorf(format string, args ...any) error {
	return refused("filter term %.80q (column %d): "+format, append([]any{t.text, t.column}, args...)...)
}

func refused(format string, args ...any) error {
	return af.Errorf(af.ErrInvalidArgument, format, args...).With(af.OutcomeNotSent)
}

// split returns the terms of a line.
func split(line string) (terms []term, err error) {
	switch {
	case len(line) > maxLine:
		return nil, refused("a filter of %d bytes exceeds the maximum of %d", len(line), maxLine)
	case !utf8.ValidString(line):
		return nil, refused("the filter %.80q is not valid UTF-8", line)
	}
	for rest := line; ; {
		if rest = strings.TrimLeftFunc(rest, unicode.IsSpace); rest == "" {
			return terms, nil
		}
		if len(terms) == maxTerms {
			return nil, refused("a filter has at most %d terms", maxTerms)
		}
		t := term{column: utf8.RuneCountInString(line[:len(line)-len(rest)]) + 1}
		n, err := t.scan(rest)
		t.text = rest[:n]
		if err != nil {
			t.text, _ = word(rest)
			return nil, t.errorf("%w", err)
		}
		terms = append(terms, t)
		rest = rest[n:]
	}
}

// word returns the beginning of a text up to white space, and the rest.
func word(s string) (string, string) {
	if i := strings.IndexFunc(s, unicode.IsSpace); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// scan reads the term at the beginning of a text, and returns its length.
func (t *term) scan(s string) (int, error) {
	rest := s
	for _, prefix := range []string{payloadPrefix, metadataPrefix} {
		if after, ok := strings.CutPrefix(s, prefix); ok {
			t.key = find(strings.TrimSuffix(prefix, "."))
			var err error
			if t.path, rest, err = t.key.scanPath(after); err != nil {
				return 0, err
			}
		}
	}
	if t.key == nil {
		w, _ := word(s)
		name, _, ok := strings.Cut(w, ":")
		if t.key = find(name); !ok || t.key == nil || t.key.hasPath() {
			return 0, unknown(w)
		}
		rest = s[len(name)+1:]
	}
	value, rest, err := scanValue(rest)
	if err != nil {
		return 0, err
	}
	t.value = value
	return len(s) - len(rest), nil
}

// scanPath reads the path of a condition on the payload or the metadata, and the equals sign after it.
func (k *key) scanPath(s string) (path, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		if path, rest, err = unquote(s); err != nil {
			return "", "", err
		}
	} else {
		w, _ := word(s)
		path, _, _ = strings.Cut(w, "=")
		rest = s[len(path):]
	}
	rest, ok := strings.CutPrefix(rest, "=")
	if !ok || path == "" {
		return "", "", problem("want %sPATH=VALUE, such as %s", k.Prefix, k.Example)
	}
	return path, rest, nil
}

// scanValue reads a value. Only a quoted one can be empty.
func scanValue(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		if value, rest = word(s); value == "" {
			err = problem("the value is missing")
		}
		return value, rest, err
	}
	if value, rest, err = unquote(s); err != nil {
		return "", "", err
	}
	if after, _ := word(rest); after != "" {
		return "", "", problem("want white space after the closing quote, not %.20q", after)
	}
	return value, rest, nil
}

// unquote reads a quoted text.
func unquote(s string) (text, rest string, err error) {
	quoted, err := strconv.QuotedPrefix(s)
	if err == nil {
		text, err = strconv.Unquote(quoted)
	}
	switch {
	case err != nil:
		return "", "", problem(`the quotes are not closed, or an escape is wrong: write \" and \\ within them`)
	case !utf8.ValidString(text):
		return "", "", problem("the quoted text is not valid UTF-8")
	}
	return text, s[len(quoted):], nil
}

// quote returns a value as it is written: quoted if it must be.
func quote(s string) string {
	if s == "" || s[0] == '"' || strings.ContainsFunc(s, needsQuotes) {
		return strconv.Quote(s)
	}
	return s
}

func quotePath(s string) string {
	if s == "" || s[0] == '"' || strings.ContainsFunc(s, func(r rune) bool { return r == '=' || needsQuotes(r) }) {
		return strconv.Quote(s)
	}
	return s
}

func needsQuotes(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
