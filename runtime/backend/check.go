package backend

import (
	"iter"
	"slices"
)

// What every Store refuses by itself, whatever it holds, is checked here. All errors are invalid_argument, and not sent.

// The page sizes of Store.List.
const (
	pageSize    = 100
	maxPageSize = 1000
)

// MaxPage is the largest page of Store.List, in bytes, unless one task alone is larger.
const MaxPage = 16 << 20

// maxInsert is how many tasks an Insert of [SplitInsert] has at most.
const maxInsert = 1000

// SplitInsert splits tasks into parts for one Store.Insert each. A part has at most 1000 tasks and maxBytes bytes, unless one
// task alone is larger.
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
			return refusal("a task needs an id and a queue: %q, %q", t.ID, t.Queue)
		case !ValidID(t.ID):
			return refusal("the id %+.80q of %d bytes: an id is UTF-8 without NUL bytes, of at most %d", t.ID, len(t.ID), MaxID)
		case t.Status != StatusWaiting && t.Status != StatusPending:
			return refusal("task %q can't begin as %q", t.ID, t.Status)
		case tasks[i].Gated != (t.Source != ""):
			return refusal("task %q: subtasks are gated, and nothing else is", t.ID)
		}
	}
	return nil
}

// ValidateSettle returns an error if any of the settles is invalid.
func ValidateSettle(settles []Settle) error {
	for i := range settles {
		if !Allowed(StatusRunning, settles[i].To) {
			return refusal("task %q can't be settled as %q", settles[i].ID, settles[i].To)
		}
	}
	return nil
}

// Check says what is wrong with a query, its cursor aside, and sets the Limit and Bytes of one that has none.
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
	return nil
}

// Takes reports whether a page of a checked query that has so many tasks and bytes takes a task of size bytes more. The first
// task it always takes.
func (q *TaskQuery) Takes(tasks, bytes, size int) bool {
	return tasks == 0 || tasks < q.Limit && bytes+size <= q.Bytes
}

// BadCursor returns the error of a query with a cursor that is malformed or belongs to another order.
func BadCursor(cursor string) *Error { return refusal("invalid cursor %q", cursor) }

func refusal(format string, args ...any) *Error {
	return Errorf(ErrInvalidArgument, format, args...).With(OutcomeNotSent)
}
