package backend

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// A TaskFilter is the conditions of a TaskQuery for which stores have no index. They are checked one task after the
// other, newest or oldest first as the query says, up to a bound: see TaskPage.Looked.
type TaskFilter struct {
	Text      string // part of the message of the task's error, whatever the case of letters
	Instance  string // runs on this instance, or did last
	UniqueKey string
	RetryOf   string
	IDPrefix  string
	Payload   []PayloadMatch // all of them
}

// A PayloadMatch is a condition on a member of a payload, or of objects and arrays in it. "user.id" is the member id of
// the member user, and "items.0" the first element of items.
type PayloadMatch struct {
	Path string
	// Value is the text of a string, or the JSON of any other value.
	Value string
}

// Limits of filters.
const (
	MaxLooked         = 100_000                // tasks that a page looks at
	MaxLooking        = 250 * time.Millisecond // after which a page looks at no more
	maxFilterText     = 1024
	maxPayloadMatches = 10
)

// IsZero reports whether the filter has no condition.
func (f *TaskFilter) IsZero() bool {
	return f.Text == "" && f.Instance == "" && f.UniqueKey == "" && f.RetryOf == "" && f.IDPrefix == "" &&
		len(f.Payload) == 0
}

func (f *TaskFilter) check() error {
	for _, text := range []string{f.Text, f.Instance, f.UniqueKey, f.RetryOf, f.IDPrefix} {
		if len(text) > maxFilterText {
			return refusal("a filter of %d bytes exceeds the maximum of %d", len(text), maxFilterText)
		}
	}
	if len(f.Payload) > maxPayloadMatches {
		return refusal("%d conditions on the payload exceed the maximum of %d", len(f.Payload), maxPayloadMatches)
	}
	for _, p := range f.Payload {
		if p.Path == "" || len(p.Path)+len(p.Value) > maxFilterText {
			return refusal("payload condition %.80q=%.80q: want a path, and at most %d bytes", p.Path, p.Value, maxFilterText)
		}
	}
	return nil
}

// Matches reports whether a task fulfils all conditions.
func (f *TaskFilter) Matches(t *Task) bool {
	switch {
	case f.Instance != "" && t.Instance != f.Instance, f.UniqueKey != "" && t.UniqueKey != f.UniqueKey,
		f.RetryOf != "" && t.RetryOf != f.RetryOf, !strings.HasPrefix(t.ID, f.IDPrefix):
		return false
	case f.Text != "" && (t.Error == nil ||
		!strings.Contains(strings.ToLower(t.Error.Message), strings.ToLower(f.Text))):
		return false
	}
	for _, p := range f.Payload {
		if !p.matches(t.Payload) {
			return false
		}
	}
	return true
}

func (p *PayloadMatch) matches(payload json.RawMessage) bool {
	for name := range strings.SplitSeq(p.Path, ".") {
		payload = member(payload, name)
		if payload == nil {
			return false
		}
	}
	payload = bytes.TrimSpace(payload)
	if len(payload) > 0 && payload[0] == '"' {
		var text string
		return json.Unmarshal(payload, &text) == nil && text == p.Value
	}
	if string(payload) == p.Value {
		return true
	}
	var compact bytes.Buffer
	return json.Compact(&compact, payload) == nil && compact.String() == p.Value
}

// member returns a member of an object or an element of an array, or nil if there is none.
func member(value json.RawMessage, name string) json.RawMessage {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return nil
	}
	switch value[0] {
	case '{':
		var object map[string]json.RawMessage
		if json.Unmarshal(value, &object) == nil {
			return object[name]
		}
	case '[':
		var array []json.RawMessage
		if json.Unmarshal(value, &array) == nil {
			if i, err := strconv.Atoi(name); err == nil && 0 <= i && i < len(array) {
				return array[i]
			}
		}
	}
	return nil
}
