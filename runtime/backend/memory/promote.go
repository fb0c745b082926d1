package memory

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Promote implements backend.Store. next takes the next deadline into account, too.
func (s *store) Promote(ctx context.Context, queue string, max int) ([]string, []backend.Task, time.Duration, error) {
	if err := alive(ctx); err != nil {
		return nil, nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[queue]
	if q == nil {
		return nil, nil, 0, nil
	}
	now := s.now()
	failed := s.expire(q, now)
	q.ripen(now.at)
	var ids []string
	if max > 0 {
		ids = s.hint(q, max, now)
	}
	next := q.nextDue(now.at)
	if r, at := q.expiry.first(); r != nil && (next == 0 || time.Duration(at-now.at) < next) {
		next = time.Duration(at - now.at)
	}
	return ids, failed, next, nil
}

// expire fails what waits past its deadline (row 11). What runs may end; it comes back here if it doesn't.
func (s *store) expire(q *queue, now tick) []backend.Task {
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
		s.move(11, r, backend.StatusFailed, now)
		failed = append(failed, r.Head())
	}
}

// lateSince returns the earliest deadline that has passed of a task that waits; never where there is none.
func (q *queue) lateSince(now int64) int64 {
	since := int64(never)
	for _, m := range q.expiry.heap {
		if m.at <= now && m.at < since && q.expiry.fresh(m) && m.r.Status != backend.StatusRunning {
			since = m.at
		}
	}
	return since
}

// hint marks the best tasks that are owed a hint (row 8).
func (s *store) hint(q *queue, max int, now tick) []string {
	if q.owed == nil {
		q.owed = &line{}
		q.ready.each(func(r *record) { q.oweHint(r, now.at) })
		for _, l := range q.pinned {
			l.each(func(r *record) { q.oweHint(r, now.at) })
		}
	}
	for {
		r, at := q.hinted.first()
		if r == nil || at > now.at {
			break
		}
		q.hinted.heap.pop()
		r.owed = true
		q.owed.push(r)
	}
	var ids []string
	for len(ids) < max {
		r := q.owed.best()
		if r == nil {
			break
		}
		q.owed.pop()
		to := r.Status
		if to == backend.StatusWaiting {
			to = backend.StatusPending
		}
		s.move(8, r, to, now)
		r.hints++
		r.hinted = now.at
		r.owed = false
		q.hinted.push(r, r.hintDue())
		ids = append(ids, r.ID)
	}
	return ids
}
