package memory

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// stopChunk is how many tasks Stop looks at before it lets others use the store.
const stopChunk = 1024

// Stop implements backend.Store (row 9, and the request for row 10). A task that was asked before is returned again.
func (s *store) Stop(ctx context.Context, st backend.Stop) ([]backend.Task, error) {
	if err := alive(ctx); err != nil {
		return nil, err
	}
	if st.Reason == "" {
		st.Reason = "stopped"
	}
	s.mu.Lock()
	top := s.tasks[st.ID]
	s.mu.Unlock()
	if top == nil {
		return nil, noTask(st.ID)
	}
	var stopped []backend.Task
	for pending := []*record{top}; len(pending) > 0; {
		stopped = st.Report(append(stopped, s.stopSome(&pending, top, st)...))
	}
	return stopped, nil
}

// stopSome stops the last stopChunk tasks of pending and appends their subtasks.
func (s *store) stopSome(pending *[]*record, top *record, st backend.Stop) []backend.Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stopped []backend.Task
	for n := 0; n < stopChunk && len(*pending) > 0; n++ {
		last := len(*pending) - 1
		r := (*pending)[last]
		*pending = (*pending)[:last]
		if r.gone {
			continue
		}
		if !(st.Below && r == top) && s.stop(r, st.Reason) {
			stopped = append(stopped, r.Head())
		}
		if r.kids != nil {
			*pending = append(*pending, r.kids.roll.list...)
		}
	}
	return stopped
}

// stop stops a task, or asks for it.
func (s *store) stop(r *record, reason string) bool {
	switch {
	case r.Status.Final():
		return false
	case r.Status != backend.StatusRunning:
		r.Error = reasonError(nil, reason)
		s.move(9, r, backend.StatusStopped, s.now())
	case !r.stopping:
		r.stopping, r.reason = true, reason
		if r.of != nil {
			r.of.stopping++
			s.review(r.of)
		}
	}
	return true
}
