// Package pages paginates lists of package runtime. All lists except those read from the task store use it.
//
// A list is sorted by a unique key, a string made of [Text], [Most] and [Latest]. The cursor of a page is the key of
// its last entry, so entries that exist throughout are listed once, whatever is added or removed between two pages.
// An entry whose key changes, such as its load, may be missed or listed twice.
package pages

import (
	"cmp"
	"encoding/base32"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	most  = 1000 // entries per page
	usual = 100
)

// A Query selects a page of a list.
type Query struct {
	Sort   string // the order of the list
	Limit  int    // entries per page, 1 to 1000; 0 means 100
	Cursor string // of the previous page, in the same order
	Skip   int    // entries to skip after the cursor
}

// Of returns a page of list, never nil, and the cursor of the next page, or "" at the end. key returns an entry's key
// in the order q.Sort; it is nil if that order is unknown. The list may be in any order. An invalid query is
// ErrInvalidArgument.
func Of[T any](list []T, q Query, key func(T) string) ([]T, string, error) {
	after, ok := decode(q.Cursor, q.Sort)
	switch {
	case key == nil:
		return nil, "", refusal("unknown order %q", q.Sort)
	case q.Limit < 0 || q.Limit > most:
		return nil, "", refusal("page limit %d out of range [1, %d]", q.Limit, most)
	case q.Skip < 0:
		return nil, "", refusal("skip %d is negative", q.Skip)
	case !ok:
		return nil, "", backend.BadCursor(q.Cursor)
	}
	type entry struct {
		key   string
		value T
	}
	var rest []entry
	for _, v := range list {
		if k := key(v); q.Cursor == "" || k > after {
			rest = append(rest, entry{k, v})
		}
	}
	slices.SortFunc(rest, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	rest = rest[min(q.Skip, len(rest)):]
	n := min(cmp.Or(q.Limit, usual), len(rest))
	entries := make([]T, n)
	for i, e := range rest[:n] {
		entries[i] = e.value
	}
	if n == len(rest) {
		return entries, "", nil
	}
	return entries, encode(rest[n-1].key, q.Sort), nil
}

func refusal(format string, args ...any) error {
	return backend.Errorf(backend.ErrInvalidArgument, format, args...).With(backend.OutcomeNotSent)
}

// encoding preserves the order of keys and uses letters that never need escaping.
var encoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// encode returns the cursor of a key.
func encode(key, sort string) string { return encoding.EncodeToString([]byte(sort + "\x00" + key)) }

// decode returns the key of a cursor. ok is false if it isn't a cursor of this order.
func decode(cursor, sort string) (key string, ok bool) {
	if cursor == "" {
		return "", true
	}
	text, err := encoding.DecodeString(cursor)
	if err != nil {
		return "", false
	}
	return strings.CutPrefix(string(text), sort+"\x00")
}

// Text returns a part of a key: text, ascending.
func Text(s string) string { return s + "\x00" }

// Most returns a part of a key: a number, largest first.
func Most[N int | int64 | float64](n N) string {
	bits := math.Float64bits(float64(n))
	if bits>>63 == 0 {
		bits ^= 1<<63 - 1
	}
	return fmt.Sprintf("%016x", bits)
}

// Latest returns a part of a key: a time with microseconds, latest first.
func Latest(t time.Time) string {
	return fmt.Sprintf("%016x", uint64(1<<63-1)-uint64(t.UnixMicro()))
}
