package memory

import "github.com/afgen/afgen/runtime/backend"

// move brings a task from one status to another: the one place where that happens. row is that of the state table; its
// guards are the caller's, and so is what it writes besides status and end.
func (s *store) move(row int, r *record, to backend.Status, now tick) {
	from := r.Status
	if s.check != nil {
		s.check(row, from, to)
	}
	if from != to {
		i, j := statusIndex(from), statusIndex(to)
		r.queue.roll.count(i, j)
		if r.of != nil {
			r.of.roll.count(i, j)
		}
	}
	r.Status = to
	if from == backend.StatusRunning {
		s.unclaim(r)
	} else if r.place != nowhere && (to == backend.StatusRunning || to.Final()) {
		r.queue.leave(r, false)
	}
	switch {
	case to.Final():
		s.end(r, now)
	case from == backend.StatusRunning:
		r.hints = 0
		r.queue.enter(r, now.at)
	}
}

// end does what follows from the end of a task's own run.
func (s *store) end(r *record, now tick) {
	r.Ended, r.Gated = now.wall, false
	r.queue.free(r)
	r.expired()
	if r.of != nil && !r.held {
		r.of.live--
		r.of.ended(r, now.at)
		s.review(r.of)
	}
	if r.kids != nil {
		r.kids.sourceEnded = now.at
		s.review(r.kids)
	}
	if !r.held {
		s.closeOne(r.family(), now)
	}
}

// fail is the error of a task that ends without one of its own.
func reasonError(given *backend.TaskError, reason string) *backend.TaskError {
	if given != nil {
		return given
	}
	return &backend.TaskError{Code: backend.ErrAborted, Message: reason}
}
