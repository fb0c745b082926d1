package backend

import (
	"iter"
	"slices"
)

// Validation that is common to all stores. All errors have code ErrInvalidArgument and OutcomeNotSent.

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
		}
	}
	return nil
}

// ValidateSettle returns an error if any of the settles is invalid.
func ValidateSettle(settles []Settle) error {
	for i := range settles {
		if !Allowed(StatusRunning, settles[i].To) {
			return refusal("task %q: cannot settle as %q", settles[i].ID, settles[i].To)
		}
	}
	return nil
}

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
	return nil
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
