package memory

import (
	"slices"
)

// slack is how many stale entries a line or timeline may always have; beyond, not more than half of all.
const slack = 64

// A slot is the place of a task in a line. It is stale once the task has left it: its stay is another then.
type slot struct {
	seq  int64
	stay uint32
	r    *record
}

func (a slot) before(b slot) bool { return a.seq < b.seq }
func (a slot) stale() bool        { return a.r.stay != a.stay }

// A line holds tasks by weight, then age. Those of one weight mostly come in the order of their age, so pushing and
// popping are cheap however long the line is.
type line struct {
	weights []*sameWeight // heaviest first; some may be empty
	n       int           // slots, stale ones among them
	stale   int
}

// A sameWeight holds the slots of one weight.
type sameWeight struct {
	weight int
	inTurn []slot // by age, from head on
	head   int
	late   heap[slot] // those that came back, older than the last of inTurn when they came
}

func (l *line) push(r *record) {
	i, found := slices.BinarySearchFunc(l.weights, r.Weight, func(w *sameWeight, weight int) int {
		switch {
		case w.weight > weight:
			return -1
		case w.weight < weight:
			return 1
		}
		return 0
	})
	if !found {
		l.weights = slices.Insert(l.weights, i, &sameWeight{weight: r.Weight})
	}
	l.weights[i].push(slot{r.seq, r.stay, r})
	l.n++
}

// best returns the first task of the line, or nil.
func (l *line) best() *record {
	for i, w := range l.weights {
		for !w.empty() {
			first := w.first()
			if !first.stale() {
				if i > slack/2 {
					l.weights = slices.DeleteFunc(l.weights, (*sameWeight).empty)
				}
				return first.r
			}
			w.drop()
			l.n--
			l.stale--
		}
	}
	if len(l.weights) > slack/2 {
		l.weights = nil
	}
	return nil
}

// pop removes the task that best returned just now.
func (l *line) pop() {
	for _, w := range l.weights {
		if !w.empty() {
			w.drop()
			l.n--
			return
		}
	}
}

// each calls fn for every task of the line.
func (l *line) each(fn func(*record)) {
	for _, w := range l.weights {
		for _, slots := range [][]slot{w.inTurn[w.head:], w.late} {
			for _, e := range slots {
				if !e.stale() {
					fn(e.r)
				}
			}
		}
	}
}

// lost notes that one slot has become stale.
func (l *line) lost() {
	l.stale++
	if l.stale <= slack || l.stale <= l.n/2 {
		return
	}
	fresh := func(s slot) bool { return !s.stale() }
	l.n, l.stale = 0, 0
	for _, w := range l.weights {
		kept := w.inTurn[:0]
		for _, s := range w.inTurn[w.head:] {
			if fresh(s) {
				kept = append(kept, s)
			}
		}
		clear(w.inTurn[len(kept):])
		w.inTurn, w.head = kept, 0
		w.late.keep(fresh)
		l.n += len(w.inTurn) + len(w.late)
	}
}

func (w *sameWeight) empty() bool { return w.head == len(w.inTurn) && len(w.late) == 0 }

func (w *sameWeight) push(s slot) {
	if n := len(w.inTurn); w.head < n && s.before(w.inTurn[n-1]) {
		w.late.push(s)
		return
	}
	w.inTurn = append(w.inTurn, s)
}

// lateFirst says whether the first slot is among those that came late.
func (w *sameWeight) lateFirst() bool {
	return len(w.late) > 0 && (w.head == len(w.inTurn) || w.late[0].before(w.inTurn[w.head]))
}

func (w *sameWeight) first() slot {
	if w.lateFirst() {
		return w.late[0]
	}
	return w.inTurn[w.head]
}

// drop removes the first slot.
func (w *sameWeight) drop() {
	if w.lateFirst() {
		w.late.pop()
		return
	}
	w.inTurn[w.head] = slot{}
	w.head++
	if w.head == len(w.inTurn) {
		w.inTurn, w.head = w.inTurn[:0], 0
	} else if w.head > 1024 && w.head > len(w.inTurn)/2 {
		n := copy(w.inTurn, w.inTurn[w.head:])
		clear(w.inTurn[n:])
		w.inTurn, w.head = w.inTurn[:n], 0
	}
}

// A moment is the place of a task in a timeline.
type moment struct {
	at   int64
	seq  int64
	stay uint32
	r    *record
}

func (a moment) before(b moment) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

// A timeline holds tasks by an instant. fresh says whether an entry still counts.
type timeline struct {
	heap  heap[moment]
	stale int
	fresh func(moment) bool
}

func staying(m moment) bool { return m.r.stay == m.stay }

func (t *timeline) push(r *record, at int64) { t.heap.push(moment{at, r.seq, r.stay, r}) }

// first returns the earliest task and its instant; nil where there is none.
func (t *timeline) first() (*record, int64) {
	for len(t.heap) > 0 {
		if m := t.heap[0]; t.fresh(m) {
			return m.r, m.at
		}
		t.heap.pop()
		t.stale--
	}
	return nil, 0
}

// lost notes that one entry has become stale.
func (t *timeline) lost() {
	t.stale++
	if t.stale > slack && t.stale > len(t.heap)/2 {
		t.heap.keep(t.fresh)
		t.stale = 0
	}
}
