package memory

import (
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A place is where a queue keeps a task.
type place uint8

const (
	notWaiting place = iota // gated, running, ended, or past its deadline
	inReady
	inDelayed
)

// A queue holds the tasks of one named queue. The store's mutex guards it.
type queue struct {
	name         string
	ready        priorityQueue // tasks that any instance may claim: with this fingerprint, no Allow, not suspected
	fingerprint  string
	restricted   map[string]*priorityQueue // all other ready tasks, by fingerprint, Allow and Suspected
	wrongVersion []entry                   // waiting tasks whose payload did not decode; some entries may be stale
	delayed      timeline                  // by due time
	expiry       timeline                  // by deadline, of all tasks that have one and have not ended
	keys         map[string]*record        // live tasks by unique key
	tasks        taskList
	failed       map[backend.Code]*taskList // failed tasks by the code of their error
	ended        endedTrees                 // trees whose root is of this queue

	// Ready tasks that need a hint, and the others by when they need the next one. nil until the first Promote.
	needHint *priorityQueue
	hinted   timeline
}

func newQueue(name string) *queue {
	q := &queue{name: name, keys: map[string]*record{}}
	q.delayed.current, q.hinted.current = isCurrent, isCurrent
	q.expiry.current = func(m timedEntry) bool { return !m.r.deleted && !m.r.Status.Final() }
	return q
}

// addWaiting adds a waiting task to the index it belongs to.
func (q *queue) addWaiting(r *record, now int64) {
	if r.deadline != never && !r.expiring {
		r.expiring = true
		q.expiry.push(r, r.deadline)
	}
	switch {
	case r.gateClosed:
	case r.due > now:
		r.place = inDelayed
		q.delayed.push(r, r.due)
		if !r.WrongVersionSince.IsZero() {
			q.addWrongVersion(r)
		}
	default:
		q.makeReady(r, now)
	}
}

func (q *queue) makeReady(r *record, now int64) {
	r.place = inReady
	if q.fingerprint != r.Fingerprint && q.ready.n == q.ready.stale && len(q.restricted) == 0 {
		q.fingerprint = r.Fingerprint // no task is in a priorityQueue that this would change
	}
	q.readyQueueOf(r).push(r)
	if q.needHint != nil {
		q.scheduleHint(r, now)
	}
}

// scheduleHint adds a ready task to those that need a hint, now or later.
func (q *queue) scheduleHint(r *record, now int64) {
	r.needsHint = r.hintDue() <= now
	if r.needsHint {
		q.needHint.push(r)
	} else {
		q.hinted.push(r, r.hintDue())
	}
}

// removeWaiting removes a task from all indexes of waiting tasks. popped reports that its priorityQueue no longer has
// it.
func (q *queue) removeWaiting(r *record, popped bool) {
	r.gen++
	switch r.place {
	case inReady:
		if !popped {
			q.readyQueueOf(r).markStale()
		}
		switch {
		case q.needHint == nil:
		case r.needsHint:
			q.needHint.markStale()
		default:
			q.hinted.markStale()
		}
	case inDelayed:
		q.delayed.markStale()
	}
	r.place = notWaiting
}

// moveDueToReady makes due tasks ready.
func (q *queue) moveDueToReady(now int64) {
	for {
		r, due := q.delayed.first()
		if r == nil || due > now {
			return
		}
		q.delayed.heap.pop()
		q.makeReady(r, now)
	}
}

// nextDue returns the time until the next task is due, or 0 if there is none. The caller has just called
// moveDueToReady.
func (q *queue) nextDue(now int64) time.Duration {
	r, due := q.delayed.first()
	if r == nil {
		return 0
	}
	return time.Duration(due - now)
}

// readyQueueOf returns the priorityQueue that a task belongs to when it is ready.
func (q *queue) readyQueueOf(r *record) *priorityQueue {
	if len(r.Allow) == 0 && r.Fingerprint == q.fingerprint && !r.Suspected() {
		return &q.ready
	}
	key := r.Fingerprint + " " + strings.Join(r.Allow, " ")
	if r.Suspected() {
		key += " suspects"
	}
	l := q.restricted[key]
	if l == nil {
		if q.restricted == nil {
			q.restricted = map[string]*priorityQueue{}
		}
		l = &priorityQueue{}
		q.restricted[key] = l
	}
	return l
}

// best returns the best ready task for a claim, and its priorityQueue, or nil. All tasks of one priorityQueue agree on
// whether a claim may take them.
func (q *queue) best(c *backend.Claim) (*record, *priorityQueue) {
	first, in := q.ready.best(), &q.ready
	if first != nil && c.Skips(&first.Task) {
		first = nil
	}
	for key, l := range q.restricted {
		switch r := l.best(); {
		case r == nil:
			delete(q.restricted, key)
		case r.Suspected() && c.Suspects <= 0:
		case r.Allowed(c.Networks) && !c.Skips(&r.Task) && (first == nil || r.comesBefore(first)):
			first, in = r, l
		}
	}
	return first, in
}

// comesBefore orders ready tasks by weight, then by age.
func (r *record) comesBefore(other *record) bool {
	return r.Weight > other.Weight || r.Weight == other.Weight && r.seq < other.seq
}

// popFor removes and returns the best ready task for a claim, or nil. It drops tasks past their deadline.
func (q *queue) popFor(now int64, c *backend.Claim) *record {
	for {
		r, in := q.best(c)
		if r == nil {
			return nil
		}
		in.pop()
		q.removeWaiting(r, true)
		if r.deadline > now {
			return r
		}
	}
}

// addWrongVersion adds a waiting task whose payload did not decode.
func (q *queue) addWrongVersion(r *record) {
	if len(q.wrongVersion) > maxStale && len(q.wrongVersion) == cap(q.wrongVersion) {
		q.wrongVersion = slices.DeleteFunc(q.wrongVersion, entry.stale)
	}
	q.wrongVersion = append(q.wrongVersion, entry{r.seq, r.gen, r})
}

// makeDueFor makes the tasks due now that wait for a worker with this fingerprint. The caller has called
// moveDueToReady, so that tasks already due keep their time.
func (q *queue) makeDueFor(fingerprint string, now timestamp) {
	if fingerprint == "" || len(q.wrongVersion) == 0 {
		return
	}
	q.wrongVersion = slices.DeleteFunc(q.wrongVersion, func(s entry) bool {
		if s.stale() || s.r.place != inDelayed {
			return true
		}
		if s.r.Fingerprint != fingerprint {
			return false
		}
		q.removeWaiting(s.r, false)
		s.r.setDelay(0, now)
		q.addWaiting(s.r, now.at)
		return true
	})
}

// releaseKey releases the unique key of a task.
func (q *queue) releaseKey(r *record) {
	if r.UniqueKey != "" && q.keys[r.UniqueKey] == r {
		delete(q.keys, r.UniqueKey)
	}
}

// The n-th hint of a task is repeated after 5 s × 2ⁿ, up to 5 minutes.
const (
	hintAge    = 5 * time.Second
	maxHintAge = 5 * time.Minute
)

// hintDue returns when a ready task needs its next hint.
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

// statusIndex returns the index of a status in the counts of a taskList.
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
