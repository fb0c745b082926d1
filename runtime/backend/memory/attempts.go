package memory

import "github.com/afgen/afgen/runtime/backend"

// attemptSlab is how many first attempts are allocated at once, about 4 KB: see slabSize.
const attemptSlab = 25

// addAttempt appends the attempt that runs a task, and ends now, to the task's attempts. why is the error that it has
// given the task, or nil, and trace the traceparent of its span, or "". Tasks that were returned before keep their own
// attempts.
func (s *store) addAttempt(
	r *record, outcome backend.AttemptOutcome, why *backend.TaskError, trace string, now timestamp,
) {
	a := backend.NewAttempt(&r.Task, now.wall, outcome, why)
	a.Trace = trace
	if len(r.Attempts) > 0 {
		r.Attempts = backend.AppendAttempt(r.Attempts, a)
		return
	}
	if len(s.attempts) == 0 {
		s.attempts = make([]backend.Attempt, attemptSlab)
	}
	s.attempts[0] = a
	r.Attempts, s.attempts = s.attempts[:1:1], s.attempts[1:]
}
