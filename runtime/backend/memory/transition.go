package memory

import "github.com/afgen/afgen/runtime/backend"

// transition changes the status of a task. Nothing else does. row is the row of the state table. The caller has checked
// the row's guards and writes all other fields.
func (s *store) transition(row int, r *record, to backend.Status, now timestamp) {
	from := r.Status
	if s.check != nil {
		s.check(row, from, to)
	}
	if from != to {
		i, j := statusIndex(from), statusIndex(to)
		r.queue.tasks.countTransition(i, j)
		if r.siblings != nil {
			r.siblings.tasks.countTransition(i, j)
		}
	}
	r.Status = to
	if from == backend.StatusRunning {
		s.removeFromClaim(r)
	} else if r.place != notWaiting && (to == backend.StatusRunning || to.Final()) {
		r.queue.removeWaiting(r, false)
	}
	switch {
	case to.Final():
		s.endTask(r, now)
	case from == backend.StatusRunning:
		r.Instance, r.IP = "", ""
		r.hints = 0
		r.queue.addWaiting(r, now.at)
	}
}

// endTask updates the indexes when a task's own run has ended.
func (s *store) endTask(r *record, now timestamp) {
	r.Ended, r.Gated, r.Uncommitted = now.wall, false, false
	r.queue.releaseKey(r)
	r.queue.tasks.ended.add(r)
	if r.siblings != nil {
		r.siblings.tasks.ended.add(r)
	}
	if r.Status == backend.StatusFailed {
		r.queue.addFailed(r)
	}
	r.removeExpiry()
	if r.siblings != nil && !r.uncommitted {
		r.siblings.live--
		r.siblings.countEnded(r, now.at)
		s.updateUnfinished(r.siblings)
	}
	if r.children != nil {
		r.children.sourceEnded = now.at
		s.updateUnfinished(r.children)
	}
	if !r.uncommitted {
		s.removeUnfinished(r.rootOf(), now)
	}
}

// reasonError returns given, or an error with the given reason if it is nil.
func reasonError(given *backend.TaskError, reason string) *backend.TaskError {
	if given != nil {
		return given
	}
	return &backend.TaskError{Code: backend.ErrAborted, Message: reason}
}
