// Package filter parses the line by which people select tasks, in the command af and in the dashboard:
//
//	queue:resize status:failed,stopped code:unavailable since:1h text:"disk full" payload.user.id=7
//
// A line has terms separated by white space, all of which must hold. A term is key:value, or a condition on the payload:
// path=value. Values with spaces are quoted as in Go. [Keys] lists the keys. A line without terms selects all tasks.
package filter

import (
	"time"

	af "github.com/afgen/afgen/runtime"
)

// A Key is a key of a filter line.
type Key struct {
	Name   string   // such as "status"
	Doc    string   // one phrase
	Values []string // all values, if there are few; else nil
}

// Keys returns all keys, in the order in which Format writes them.
func Keys() []Key { return nil }

// Parse returns the query that a line describes. Durations, as in since:1h, are before now. The error is
// [af.ErrInvalidArgument], names the term and its column, and suggests the nearest key or value.
func Parse(line string, now time.Time) (af.TaskQuery, error) {
	return af.TaskQuery{}, af.Errorf(af.ErrUnimplemented, "filters are not implemented")
}

// Format returns the line that Parse parses into q, without its Limit, Bytes and Cursor. Times are absolute.
func Format(q af.TaskQuery) string { return "" }
