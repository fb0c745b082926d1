package memory

import (
	"slices"
)

// maxStale is how many stale entries an index may always hold. Beyond it, at most half of the entries may be stale.
const maxStale = 64

// An entry is a task in a priorityQueue. It is stale once the task has been removed, which changes the record's gen.
type entry struct {
	seq int64
	gen uint32
	r   *record
}

func (a entry) before(b entry) bool { return a.seq < b.seq }
func (a entry) stale() bool         { return a.r.gen != a.gen }

// A priorityQueue orders tasks by weight, then by age. Tasks of one weight mostly arrive in order of age, so push and
// pop are cheap whatever the queue's length.
type priorityQueue struct {
	weights []*weightClass // heaviest first; some may be empty
	n       int            // entries, including stale ones
	stale   int
}

// A weightClass holds the entries of one weight.
type weightClass struct {
	weight     int
	ordered    []entry // by age, from head on
	head       int
	outOfOrder heap[entry] // those older than the last of ordered when pushed
}

func (q *priorityQueue) push(r *record) {
	i, found := slices.BinarySearchFunc(q.weights, r.Weight, func(w *weightClass, weight int) int {
		switch {
		case w.weight > weight:
			return -1
		case w.weight < weight:
			return 1
		}
		return 0
	})
	if !found {
		q.weights = slices.Insert(q.weights, i, &weightClass{weight: r.Weight})
	}
	q.weights[i].push(entry{r.seq, r.gen, r})
	q.n++
}

// best returns the first task, or nil if the queue is empty.
func (q *priorityQueue) best() *record {
	for i, w := range q.weights {
		for !w.empty() {
			first := w.first()
			if !first.stale() {
				if i > maxStale/2 {
					q.weights = slices.DeleteFunc(q.weights, (*weightClass).empty)
				}
				return first.r
			}
			w.drop()
			q.n--
			q.stale--
		}
	}
	if len(q.weights) > maxStale/2 {
		q.weights = nil
	}
	return nil
}

// pop removes the task that best just returned.
func (q *priorityQueue) pop() {
	for _, w := range q.weights {
		if !w.empty() {
			w.drop()
			q.n--
			return
		}
	}
}

// each calls fn for every task.
func (q *priorityQueue) each(fn func(*record)) {
	for _, w := range q.weights {
		for _, entries := range [][]entry{w.ordered[w.head:], w.outOfOrder} {
			for _, e := range entries {
				if !e.stale() {
					fn(e.r)
				}
			}
		}
	}
}

// markStale records that one entry has become stale, and compacts the queue if there are too many.
func (q *priorityQueue) markStale() {
	q.stale++
	if q.stale <= maxStale || q.stale <= q.n/2 {
		return
	}
	current := func(s entry) bool { return !s.stale() }
	q.n, q.stale = 0, 0
	for _, w := range q.weights {
		kept := w.ordered[:0]
		for _, s := range w.ordered[w.head:] {
			if current(s) {
				kept = append(kept, s)
			}
		}
		clear(w.ordered[len(kept):])
		w.ordered, w.head = kept, 0
		w.outOfOrder.keep(current)
		q.n += len(w.ordered) + len(w.outOfOrder)
	}
}

func (w *weightClass) empty() bool { return w.head == len(w.ordered) && len(w.outOfOrder) == 0 }

func (w *weightClass) push(s entry) {
	if n := len(w.ordered); w.head < n && s.before(w.ordered[n-1]) {
		w.outOfOrder.push(s)
		return
	}
	w.ordered = append(w.ordered, s)
}

// outOfOrderFirst reports whether the first entry is in outOfOrder.
func (w *weightClass) outOfOrderFirst() bool {
	return len(w.outOfOrder) > 0 && (w.head == len(w.ordered) || w.outOfOrder[0].before(w.ordered[w.head]))
}

func (w *weightClass) first() entry {
	if w.outOfOrderFirst() {
		return w.outOfOrder[0]
	}
	return w.ordered[w.head]
}

// drop removes the first entry.
func (w *weightClass) drop() {
	if w.outOfOrderFirst() {
		w.outOfOrder.pop()
		return
	}
	w.ordered[w.head] = entry{}
	w.head++
	if w.head == len(w.ordered) {
		w.ordered, w.head = w.ordered[:0], 0
	} else if w.head > 1024 && w.head > len(w.ordered)/2 {
		n := copy(w.ordered, w.ordered[w.head:])
		clear(w.ordered[n:])
		w.ordered, w.head = w.ordered[:n], 0
	}
}

// A timedEntry is a task in a timeline.
type timedEntry struct {
	at  int64
	seq int64
	gen uint32
	r   *record
}

func (a timedEntry) before(b timedEntry) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

// A timeline orders tasks by an instant. current reports whether an entry is not stale.
type timeline struct {
	heap    heap[timedEntry]
	stale   int
	current func(timedEntry) bool
}

func isCurrent(m timedEntry) bool { return m.r.gen == m.gen }

func (t *timeline) push(r *record, at int64) { t.heap.push(timedEntry{at, r.seq, r.gen, r}) }

// first returns the earliest task and its instant, or nil if the timeline is empty.
func (t *timeline) first() (*record, int64) {
	for len(t.heap) > 0 {
		if m := t.heap[0]; t.current(m) {
			return m.r, m.at
		}
		t.heap.pop()
		t.stale--
	}
	return nil, 0
}

// markStale records that one entry has become stale, and compacts the timeline if there are too many.
func (t *timeline) markStale() {
	t.stale++
	if t.stale > maxStale && t.stale > len(t.heap)/2 {
		t.heap.keep(t.current)
		t.stale = 0
	}
}
