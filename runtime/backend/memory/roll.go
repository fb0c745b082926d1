package memory

import (
	"cmp"
	"slices"
)

// A roll lists tasks by creation, with how many there are of each status. Those deleted stay in it for a while.
type roll struct {
	list   []*record
	sorted int // so many at the front are in order
	gone   int
	counts [7]int
}

// inOrder compares tasks by creation, then id.
func inOrder(a, b *record) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

func (l *roll) add(r *record) {
	if n := len(l.list); n > 0 && r.Created.Before(l.list[n-1].Created) {
		l.sorted = 0 // the clock was set back
	}
	l.list = append(l.list, r)
	l.counts[statusIndex(r.Status)]++
}

// count notes that a task has gone from one status to another.
func (l *roll) count(from, to int) {
	l.counts[from]--
	l.counts[to]++
}

// drop notes that a task is gone.
func (l *roll) drop(r *record) {
	l.counts[statusIndex(r.Status)]--
	l.gone++
	if l.gone <= slack || l.gone <= len(l.list)/2 {
		return
	}
	kept, sorted := l.list[:0], 0
	for i, r := range l.list {
		if r.gone {
			continue
		}
		kept = append(kept, r)
		if i < l.sorted {
			sorted = len(kept)
		}
	}
	clear(l.list[len(kept):])
	l.list, l.sorted, l.gone = kept, sorted, 0
}

// all returns the tasks in order, those gone among them. The slice is the roll's.
func (l *roll) all() []*record {
	if l.sorted < len(l.list) {
		from := l.sorted
		for from > 0 && !l.list[from-1].Created.Before(l.list[l.sorted].Created) {
			from--
		}
		slices.SortFunc(l.list[from:], inOrder)
		l.sorted = len(l.list)
	}
	return l.list
}

// last returns a task that is not gone, or nil.
func (l *roll) last() *record {
	for n := len(l.list); n > 0; n-- {
		if r := l.list[n-1]; !r.gone {
			return r
		}
		l.list[n-1] = nil
		l.list = l.list[:n-1]
		l.gone--
		l.sorted = min(l.sorted, n-1)
	}
	return nil
}
