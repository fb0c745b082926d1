package memory

import (
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A place is where a queue keeps a task that may be claimed sooner or later.
type place uint8

const (
	nowhere place = iota // gated, running, ended, or past its deadline
	inReady
	inDelayed
)

// A queue is a named line of tasks. The store's mutex guards it.
type queue struct {
	name    string
	ready   line // those that may be claimed from everywhere, have the fingerprint print and are not suspected
	print   string
	pinned  map[string]*line   // ready, too: all others, by fingerprint, Allow, and whether they are suspected
	unfit   []slot             // those that have waited since their payload did not decode; some may be stale
	delayed timeline           // by due time
	expiry  timeline           // by deadline, all that have one and have not ended
	keys    map[string]*record // live tasks by unique key
	roll    roll
	ended   ageing // families whose source is of this queue

	// Which ready tasks are owed a hint: kept from the first Promote on. hinted has the others, by when theirs gets old.
	owed   *line
	hinted timeline
}

func newQueue(name string) *queue {
	q := &queue{name: name, keys: map[string]*record{}}
	q.delayed.fresh, q.hinted.fresh = staying, staying
	q.expiry.fresh = func(m moment) bool { return !m.r.gone && !m.r.Status.Final() }
	return q
}

// enter puts a task that waits where it belongs.
func (q *queue) enter(r *record, now int64) {
	if r.deadline != never && !r.expiring {
		r.expiring = true
		q.expiry.push(r, r.deadline)
	}
	switch {
	case r.closed:
	case r.due > now:
		r.place = inDelayed
		q.delayed.push(r, r.due)
		if !r.WrongVersionSince.IsZero() {
			q.noteUnfit(r)
		}
	default:
		q.makeReady(r, now)
	}
}

func (q *queue) makeReady(r *record, now int64) {
	r.place = inReady
	if q.print != r.Fingerprint && q.ready.n == q.ready.stale && len(q.pinned) == 0 {
		q.print = r.Fingerprint // nothing is in a line that would be another's then
	}
	q.lineOf(r).push(r)
	if q.owed != nil {
		q.oweHint(r, now)
	}
}

// oweHint puts a ready task among those that are owed a hint, now or later.
func (q *queue) oweHint(r *record, now int64) {
	r.owed = r.hintDue() <= now
	if r.owed {
		q.owed.push(r)
	} else {
		q.hinted.push(r, r.hintDue())
	}
}

// leave takes a task out of wherever it waits. popped says that it is out of the ready line already.
func (q *queue) leave(r *record, popped bool) {
	r.stay++
	switch r.place {
	case inReady:
		if !popped {
			q.lineOf(r).lost()
		}
		switch {
		case q.owed == nil:
		case r.owed:
			q.owed.lost()
		default:
			q.hinted.lost()
		}
	case inDelayed:
		q.delayed.lost()
	}
	r.place = nowhere
}

// ripen makes ready what has become due.
func (q *queue) ripen(now int64) {
	for {
		r, due := q.delayed.first()
		if r == nil || due > now {
			return
		}
		q.delayed.heap.pop()
		q.makeReady(r, now)
	}
}

// nextDue is how long until another task is due, 0 where none is known. ripen was called just now.
func (q *queue) nextDue(now int64) time.Duration {
	r, due := q.delayed.first()
	if r == nil {
		return 0
	}
	return time.Duration(due - now)
}

// lineOf is the line in which a task is when it is ready.
func (q *queue) lineOf(r *record) *line {
	if len(r.Allow) == 0 && r.Fingerprint == q.print && !r.Suspected() {
		return &q.ready
	}
	key := r.Fingerprint + " " + strings.Join(r.Allow, " ")
	if r.Suspected() {
		key += " suspects"
	}
	l := q.pinned[key]
	if l == nil {
		if q.pinned == nil {
			q.pinned = map[string]*line{}
		}
		l = &line{}
		q.pinned[key] = l
	}
	return l
}

// best returns the best ready task for a claim, and its line; nil where there is none. What decides whether it may take a
// task is the same for all of a line.
func (q *queue) best(c *backend.Claim) (*record, *line) {
	first, in := q.ready.best(), &q.ready
	if first != nil && c.Skips(&first.Task) {
		first = nil
	}
	for key, l := range q.pinned {
		switch r := l.best(); {
		case r == nil:
			delete(q.pinned, key)
		case r.Suspected() && c.Suspects <= 0:
		case r.Allowed(c.Networks) && !c.Skips(&r.Task) && (first == nil || r.Weight > first.Weight || r.Weight == first.Weight && r.seq < first.seq):
			first, in = r, l
		}
	}
	return first, in
}

// take removes and returns the best ready task for a claim, or nil. Those past their deadline can't be claimed any more.
func (q *queue) take(now int64, c *backend.Claim) *record {
	for {
		r, in := q.best(c)
		if r == nil {
			return nil
		}
		in.pop()
		q.leave(r, true)
		if r.deadline > now {
			return r
		}
	}
}

// noteUnfit notes a task that waits and whose payload did not decode.
func (q *queue) noteUnfit(r *record) {
	if len(q.unfit) > slack && len(q.unfit) == cap(q.unfit) {
		q.unfit = slices.DeleteFunc(q.unfit, slot.stale)
	}
	q.unfit = append(q.unfit, slot{r.seq, r.stay, r})
}

// fit makes due now what waits for a worker of a fingerprint. ripen comes before it: what is due by then keeps its time.
func (q *queue) fit(print string, now tick) {
	if print == "" || len(q.unfit) == 0 {
		return
	}
	q.unfit = slices.DeleteFunc(q.unfit, func(s slot) bool {
		if s.stale() || s.r.place != inDelayed {
			return true
		}
		if s.r.Fingerprint != print {
			return false
		}
		q.leave(s.r, false)
		s.r.delay(0, now)
		q.enter(s.r, now.at)
		return true
	})
}

// free gives back the unique key of a task.
func (q *queue) free(r *record) {
	if r.UniqueKey != "" && q.keys[r.UniqueKey] == r {
		delete(q.keys, r.UniqueKey)
	}
}

// The age at which a hint is owed again: 5 s × 2ⁿ after n of them, up to a bound.
const (
	hintAge    = 5 * time.Second
	maxHintAge = 5 * time.Minute
)

// hintDue is when the task is owed a hint, if it is ready.
func (r *record) hintDue() int64 {
	if r.hints == 0 {
		return r.due
	}
	age := maxHintAge
	if r.hints < 6 {
		age = min(age, hintAge<<r.hints)
	}
	return r.hinted + int64(age)
}

// statusIndex numbers the statuses.
func statusIndex(s backend.Status) int {
	switch s {
	case backend.StatusWaiting:
		return 0
	case backend.StatusPending:
		return 1
	case backend.StatusRunning:
		return 2
	case backend.StatusRetrying:
		return 3
	case backend.StatusSuccess:
		return 4
	case backend.StatusFailed:
		return 5
	}
	return 6
}
