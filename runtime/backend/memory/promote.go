package memory

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Promote implements backend.Store. next also takes deadlines into account.
func (s *store) Promote(ctx context.Context, queue string, max int) ([]string, []backend.Task, time.Duration, error) {
	if err := checkContext(ctx); err != nil {
		return nil, nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[queue]
	if q == nil {
		return nil, nil, 0, nil
	}
	now := s.now()
	failed := s.failOverdue(q, now)
	q.moveDueToReady(now.at)
	var ids []string
	if max > 0 {
		ids = s.markHinted(q, max, now)
	}
	next := q.nextDue(now.at)
	if r, at := q.expiry.first(); r != nil && (next == 0 || time.Duration(at-now.at) < next) {
		next = time.Duration(at - now.at)
	}
	return ids, failed, next, nil
}

// Promotable implements backend.Store.
func (s *store) Promotable(ctx context.Context, queues []string, within time.Duration) ([]string, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now().at
	var found []string
	for _, name := range queues {
		if q := s.queues[name]; q != nil && q.promotable(now, now+int64(within)) {
			found = append(found, name)
		}
	}
	return found, nil
}

// promotable reports whether a task needs a hint now, or becomes due or misses its deadline until an instant.
func (q *queue) promotable(now, until int64) bool {
	if r, at := q.delayed.first(); r != nil && at <= until {
		return true
	}
	if r, at := q.expiry.first(); r != nil && at <= until {
		return true
	}
	if q.needHint == nil { // no hints are used, or not yet
		ready := q.ready.n > q.ready.stale
		for _, l := range q.restricted {
			ready = ready || l.n > l.stale
		}
		return ready
	}
	r, at := q.hinted.first()
	return q.needHint.best() != nil || r != nil && at <= now
}

// failOverdue fails waiting tasks whose deadline has passed (row 11). Running tasks are skipped: addWaiting checks
// their deadline again.
func (s *store) failOverdue(q *queue, now timestamp) []backend.Task {
	var failed []backend.Task
	for {
		r, at := q.expiry.first()
		if r == nil || at > now.at {
			return failed
		}
		q.expiry.heap.pop()
		r.expiring = false
		if r.Status == backend.StatusRunning {
			continue
		}
		r.Error = &backend.TaskError{Code: backend.ErrDeadlineExceeded, Message: "its deadline passed before it could run"}
		s.transition(11, r, backend.StatusFailed, now)
		failed = append(failed, r.Head())
	}
}

// overdueSince returns the earliest deadline that has passed of the waiting tasks, or never.
func (q *queue) overdueSince(now int64) int64 {
	since := int64(never)
	for _, m := range q.expiry.heap {
		if m.at <= now && m.at < since && q.expiry.current(m) && m.r.Status != backend.StatusRunning {
			since = m.at
		}
	}
	return since
}

// markHinted marks up to max ready tasks that need a hint as hinted, best first (row 8).
func (s *store) markHinted(q *queue, max int, now timestamp) []string {
	if q.needHint == nil {
		q.needHint = &priorityQueue{}
		q.ready.each(func(r *record) { q.scheduleHint(r, now.at) })
		for _, l := range q.restricted {
			l.each(func(r *record) { q.scheduleHint(r, now.at) })
		}
	}
	for {
		r, at := q.hinted.first()
		if r == nil || at > now.at {
			break
		}
		q.hinted.heap.pop()
		r.needsHint = true
		q.needHint.push(r)
	}
	var ids []string
	for len(ids) < max {
		r := q.needHint.best()
		if r == nil {
			break
		}
		q.needHint.pop()
		to := r.Status
		if to == backend.StatusWaiting {
			to = backend.StatusPending
		}
		s.transition(8, r, to, now)
		r.hints++
		r.hinted = now.at
		r.needsHint = false
		q.hinted.push(r, r.hintDue())
		ids = append(ids, r.ID)
	}
	return ids
}
