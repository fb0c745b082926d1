package backend

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// Validation that is common to all stores. All errors have OutcomeNotSent and code ErrInvalidArgument, or
// ErrResourceExhausted for metadata that is too large.

// Page sizes of Store.List.
const (
	pageSize    = 100
	maxPageSize = 1000
)

// MaxPage is the limit of a page of Store.List, in bytes. A single task may exceed it.
const MaxPage = 16 << 20

// maxInsert is the maximum number of tasks in one part of SplitInsert.
const maxInsert = 1000

// SplitInsert splits tasks into parts to insert one after the other. A part has at most 1000 tasks and maxBytes bytes;
// a single task may exceed maxBytes.
func SplitInsert(tasks []NewTask, maxBytes int) iter.Seq[[]NewTask] {
	return func(yield func([]NewTask) bool) {
		for len(tasks) > 0 {
			n, size := 1, tasks[0].Task.Size()
			for n < min(len(tasks), maxInsert) && size+tasks[n].Task.Size() <= maxBytes {
				size += tasks[n].Task.Size()
				n++
			}
			if !yield(tasks[:n:n]) {
				return
			}
			tasks = tasks[n:]
		}
	}
}

// ValidateInsert returns an error if any of the tasks can't be inserted.
func ValidateInsert(tasks []NewTask) error {
	for i := range tasks {
		t := &tasks[i].Task
		switch {
		case t.ID == "" || t.Queue == "":
			return refusal("task without id or queue: id %q, queue %q", t.ID, t.Queue)
		case !ValidID(t.ID):
			return refusal("invalid task id %+.80q of %d bytes: must be UTF-8 without NUL bytes, at most %d bytes", t.ID,
				len(t.ID), MaxID)
		case t.Status != StatusWaiting && t.Status != StatusPending:
			return refusal("task %q: invalid initial status %q", t.ID, t.Status)
		case tasks[i].Gated != (t.Source != ""):
			return refusal("task %q: only subtasks must be gated", t.ID)
		case t.Retries != nil && *t.Retries < 0:
			return refusal("task %q: negative number of retries %d", t.ID, *t.Retries)
		}
		if err := ValidateMetadata(t.Metadata); err != nil {
			return err
		}
	}
	return nil
}

// MaxMetadataName is the limit of a metadata name, in bytes. Names are part of the names of headers, which are short.
const MaxMetadataName = 255 - len("af-md-")

// ValidateMetadata returns an error if metadata can't be stored with a task or sent with a raw message. Names and
// values together have at most MaxMetadata bytes, the same as those of a call. A name has 1 to MaxMetadataName bytes
// and no NUL byte. Names and values are UTF-8.
func ValidateMetadata(md map[string]string) error {
	size := 0
	for name, value := range md {
		switch {
		case name == "":
			return refusal("metadata with an empty name")
		case len(name) > MaxMetadataName:
			return refusal("metadata %.80q: the name may have at most %d bytes", name, MaxMetadataName)
		case !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0:
			return refusal("metadata %+q: the name must be UTF-8 without NUL bytes", name)
		case !utf8.ValidString(value):
			return refusal("metadata %q: the value is not UTF-8", name)
		}
		size += len(name) + len(value)
	}
	if size > MaxMetadata {
		return Errorf(ErrResourceExhausted, "the metadata is %d bytes; at most %d are allowed", size, MaxMetadata).
			With(OutcomeNotSent)
	}
	return nil
}

// ValidateSettle returns an error if any of the settles is invalid. The details of an error are JSON, with types in
// UTF-8, and have at most MaxDetails bytes.
func ValidateSettle(settles []Settle) error {
	for i := range settles {
		e := &settles[i]
		if !Allowed(StatusRunning, e.To) {
			return refusal("task %q: cannot settle as %q", e.ID, e.To)
		}
		if e.Error == nil {
			continue
		}
		if n := DetailsSize(e.Error.Details); n > MaxDetails {
			return refusal("task %q: error details of %d bytes exceed the maximum of %d", e.ID, n, MaxDetails)
		}
		for _, d := range e.Error.Details {
			if !ValidDetail(d) {
				return refusal("task %q: error detail of type %+.80q is not JSON", e.ID, d.Type)
			}
		}
	}
	return nil
}

// ValidDetail reports whether all stores and transports accept a detail: its value is JSON and its type is UTF-8.
func ValidDetail(d ErrorDetail) bool { return utf8.ValidString(d.Type) && json.Valid(d.Value) }

// Check returns an error if a query is invalid, except for its cursor. It sets Limit and Bytes to their defaults if
// they are 0.
func (q *TaskQuery) Check() error {
	if q.Limit == 0 {
		q.Limit = pageSize
	}
	if q.Bytes == 0 {
		q.Bytes = MaxPage
	}
	switch {
	case q.Bytes < 0 || q.Bytes > MaxPage:
		return refusal("page size of %d bytes out of range [1, %d]", q.Bytes, MaxPage)
	case q.Limit < 0 || q.Limit > maxPageSize:
		return refusal("page limit %d out of range [1, %d]", q.Limit, maxPageSize)
	case q.Sort != SortNewest && q.Sort != SortOldest && q.Sort != SortEnded:
		return refusal("unknown order %q: want %q, %q or %q", q.Sort, SortNewest, SortOldest, SortEnded)
	}
	for _, s := range q.Statuses {
		if !slices.Contains(statuses[:], s) {
			return refusal("unknown status %q: want one of %v", s, statuses)
		}
	}
	if q.Code != "" && (len(q.Statuses) != 1 || q.Statuses[0] != StatusFailed) {
		return refusal("a query by the code %.80q is for the status %q alone, not for %v", q.Code, StatusFailed, q.Statuses)
	}
	return q.Filter.check()
}

// Takes reports whether a page that has a number of tasks and bytes can take another task of size bytes. It always
// takes the first task. The query must have passed Check.
func (q *TaskQuery) Takes(tasks, bytes, size int) bool {
	return tasks == 0 || tasks < q.Limit && bytes+size <= q.Bytes
}

// BadCursor returns the error of a query whose cursor is invalid, or belongs to another order.
func BadCursor(cursor string) *Error { return refusal("invalid cursor %q", cursor) }

func refusal(format string, args ...any) *Error {
	return Errorf(ErrInvalidArgument, format, args...).With(OutcomeNotSent)
}
