package backend

import (
	"encoding/json"
	"strings"
	"time"
)

// A TaskFilter is the conditions of a TaskQuery for which stores have no index. They are checked one task after the
// other, newest or oldest first as the query says, up to a bound: see TaskPage.Looked.
type TaskFilter struct {
	Text      string         `json:"text,omitempty"`     // part of the error's message, in any case
	Instance  string         `json:"instance,omitempty"` // runs on this instance, or did last
	UniqueKey string         `json:"unique_key,omitempty"`
	RetryOf   string         `json:"retry_of,omitempty"`
	IDPrefix  string         `json:"id_prefix,omitempty"`
	Payload   []PayloadMatch `json:"payload,omitempty"` // all of them
	// Metadata is names and values that the task has, among others. A name with an equals sign can't be given.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// A PayloadMatch is a condition on a member of a payload, or of objects and arrays in it. "user.id" is the member id of
// the member user, and "items.0" the first element of items. Of members with the same name, the first one counts. Members
// whose names have dots can't be named.
type PayloadMatch struct {
	Path string `json:"path"`
	// Value is the text of a string, or the JSON of any other value. White space in it doesn't matter.
	Value string `json:"value"`
}

// Limits of filters.
const (
	MaxLooked         = 100_000                // tasks that a page looks at
	MaxLooking        = 250 * time.Millisecond // after which a page looks at no more
	maxFilterText     = 1024
	maxPayloadMatches = 10
	maxMetadataNames  = 10
)

// IsZero reports whether the filter has no condition.
func (f *TaskFilter) IsZero() bool {
	return f.Text == "" && f.Instance == "" && f.UniqueKey == "" && f.RetryOf == "" && f.IDPrefix == "" &&
		len(f.Payload) == 0 && len(f.Metadata) == 0
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
	if len(f.Metadata) > maxMetadataNames {
		return refusal("%d conditions on the metadata exceed the maximum of %d", len(f.Metadata), maxMetadataNames)
	}
	for name, value := range f.Metadata {
		if name == "" || strings.Contains(name, "=") || len(name)+len(value) > maxFilterText {
			return refusal("metadata condition %.80q=%.80q: want a name without an equals sign, and at most %d bytes", name,
				value, maxFilterText)
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
	for name, value := range f.Metadata {
		if got, ok := t.Metadata[name]; !ok || got != value {
			return false
		}
	}
	if len(f.Payload) == 0 {
		return true
	}
	if !json.Valid(t.Payload) {
		return false
	}
	for _, p := range f.Payload {
		if !p.matches(t.Payload) {
			return false
		}
	}
	return true
}
