package memory

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// stopChunk is how many tasks Stop visits before it releases the store's mutex for a moment.
const stopChunk = 1024

// Stop implements backend.Store (row 9, and the request for row 10). Tasks that were already asked to stop are returned
// again.
func (s *store) Stop(ctx context.Context, st backend.Stop) ([]backend.Task, error) {
	if err := checkContext(ctx); err != nil {
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

// stopSome stops the last stopChunk tasks of pending and appends their subtasks to it.
func (s *store) stopSome(pending *[]*record, top *record, st backend.Stop) []backend.Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stopped []backend.Task
	for n := 0; n < stopChunk && len(*pending) > 0; n++ {
		last := len(*pending) - 1
		r := (*pending)[last]
		*pending = (*pending)[:last]
		if r.deleted {
			continue
		}
		if !(st.Below && r == top) && s.stopTask(r, st.Reason) {
			stopped = append(stopped, r.Head())
		}
		if r.children != nil {
			*pending = append(*pending, r.children.tasks.list...)
		}
	}
	return stopped
}

// stopTask stops a waiting task, or requests a running one to stop. It returns false if the task has ended.
func (s *store) stopTask(r *record, reason string) bool {
	switch {
	case r.Status.Final():
		return false
	case r.Status != backend.StatusRunning:
		r.Error = reasonError(nil, reason)
		s.transition(9, r, backend.StatusStopped, s.now())
	case !r.Stopping:
		r.Stopping, r.reason = true, reason
		if r.siblings != nil {
			r.siblings.stopping++
			s.updateUnfinished(r.siblings)
		}
	}
	return true
}
