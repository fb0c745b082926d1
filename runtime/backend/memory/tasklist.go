package memory

import (
	"cmp"
	"slices"
)

// A taskList holds tasks by creation, those that have ended also by their end, and their number by status.
type taskList struct {
	ordered
	ended  ordered
	counts [7]int
}

func (l *taskList) add(r *record) {
	l.ordered.add(r)
	if r.Status.Final() {
		l.ended.add(r)
	}
	l.counts[statusIndex(r.Status)]++
}

// countTransition records that a task has changed its status.
func (l *taskList) countTransition(from, to int) {
	l.counts[from]--
	l.counts[to]++
}

// countDeleted records that a task was deleted.
func (l *taskList) countDeleted(r *record) {
	l.counts[statusIndex(r.Status)]--
	l.ordered.countDeleted()
	if r.Status.Final() {
		l.ended.countDeleted()
	}
}

// byCreation compares tasks by creation time, then id.
func byCreation(a, b *record) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

// byEnd compares tasks that have ended by their end, then id.
func byEnd(a, b *record) int {
	return cmp.Or(a.Ended.Compare(b.Ended), cmp.Compare(a.ID, b.ID))
}

// An ordered is a list of tasks in an order. Most are added at the end or close to it. Deleted tasks stay in it until it
// is compacted.
type ordered struct {
	list    []*record
	sorted  int // the first sorted elements are in order
	deleted int // how many elements are deleted tasks
}

func (o *ordered) add(r *record) { o.list = append(o.list, r) }

// countDeleted records that a task was deleted, and compacts the list if there are too many.
func (o *ordered) countDeleted() {
	o.deleted++
	if o.deleted <= maxStale || o.deleted <= len(o.list)/2 {
		return
	}
	kept, sorted := o.list[:0], 0
	for i, r := range o.list {
		if r.deleted {
			continue
		}
		kept = append(kept, r)
		if i < o.sorted {
			sorted = len(kept)
		}
	}
	clear(o.list[len(kept):])
	o.list, o.sorted, o.deleted = kept, sorted, 0
}

// all returns the tasks in order, including deleted ones. The caller must not modify the slice.
func (o *ordered) all(order func(a, b *record) int) []*record {
	if o.sorted < len(o.list) {
		added := o.list[o.sorted:]
		slices.SortFunc(added, order)
		if o.sorted > 0 && order(added[0], o.list[o.sorted-1]) < 0 {
			o.merge(slices.Clone(added), order)
		}
		o.sorted = len(o.list)
	}
	return o.list
}

// merge moves the last tasks of the list, given in order, to their places among the others.
func (o *ordered) merge(added []*record, order func(a, b *record) int) {
	end := len(o.list)
	rest := o.list[:end-len(added)]
	for _, r := range slices.Backward(added) {
		at, _ := slices.BinarySearchFunc(rest, r, order)
		end -= copy(o.list[end-(len(rest)-at):end], rest[at:])
		rest = rest[:at]
		end--
		o.list[end] = r
	}
}

// last returns a task that is not deleted, or nil.
func (o *ordered) last() *record {
	for n := len(o.list); n > 0; n-- {
		if r := o.list[n-1]; !r.deleted {
			return r
		}
		o.list[n-1] = nil
		o.list = o.list[:n-1]
		o.deleted--
		o.sorted = min(o.sorted, n-1)
	}
	return nil
}
