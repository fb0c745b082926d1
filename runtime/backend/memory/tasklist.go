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
		added := l.list[l.sorted:]
		slices.SortFunc(added, byCreation)
		if l.sorted > 0 && byCreation(added[0], l.list[l.sorted-1]) < 0 {
			l.merge(slices.Clone(added))
		}
		l.sorted = len(l.list)
	}
	return l.list
}

// merge moves the last tasks of the list, given in order, to their places among the others. Most are close to the end.
func (l *taskList) merge(added []*record) {
	end := len(l.list)
	rest := l.list[:end-len(added)]
	for i := len(added) - 1; i >= 0; i-- {
		at, _ := slices.BinarySearchFunc(rest, added[i], byCreation)
		end -= copy(l.list[end-(len(rest)-at):end], rest[at:])
		rest = rest[:at]
		end--
		l.list[end] = added[i]
	}
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
