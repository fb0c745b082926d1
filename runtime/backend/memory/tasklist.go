package memory

import (
	"cmp"
	"slices"
)

// A taskList holds tasks by creation, and their number by status. Deleted tasks stay in it until it is compacted.
type taskList struct {
	list    []*record
	sorted  int // the first sorted elements are in order
	deleted int // how many elements are deleted tasks
	counts  [7]int
}

// byCreation compares tasks by creation time, then id.
func byCreation(a, b *record) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

func (l *taskList) add(r *record) {
	if n := len(l.list); n > 0 && r.Created.Before(l.list[n-1].Created) {
		l.sorted = 0 // the clock was set back
	}
	l.list = append(l.list, r)
	l.counts[statusIndex(r.Status)]++
}

// countTransition records that a task has changed its status.
func (l *taskList) countTransition(from, to int) {
	l.counts[from]--
	l.counts[to]++
}

// countDeleted records that a task was deleted, and compacts the list if there are too many.
func (l *taskList) countDeleted(r *record) {
	l.counts[statusIndex(r.Status)]--
	l.deleted++
	if l.deleted <= maxStale || l.deleted <= len(l.list)/2 {
		return
	}
	kept, sorted := l.list[:0], 0
	for i, r := range l.list {
		if r.deleted {
			continue
		}
		kept = append(kept, r)
		if i < l.sorted {
			sorted = len(kept)
		}
	}
	clear(l.list[len(kept):])
	l.list, l.sorted, l.deleted = kept, sorted, 0
}

// all returns the tasks in order, including deleted ones. The caller must not modify the slice.
func (l *taskList) all() []*record {
	if l.sorted < len(l.list) {
		from := l.sorted
		for from > 0 && !l.list[from-1].Created.Before(l.list[l.sorted].Created) {
			from--
		}
		slices.SortFunc(l.list[from:], byCreation)
		l.sorted = len(l.list)
	}
	return l.list
}

// last returns a task that is not deleted, or nil.
func (l *taskList) last() *record {
	for n := len(l.list); n > 0; n-- {
		if r := l.list[n-1]; !r.deleted {
			return r
		}
		l.list[n-1] = nil
		l.list = l.list[:n-1]
		l.deleted--
		l.sorted = min(l.sorted, n-1)
	}
	return nil
}
