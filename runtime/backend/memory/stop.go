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
	defer s.mu.Unlock()
	top := s.tasks[st.ID]
	if top == nil {
		return nil, noTask(st.ID)
	}
	var stopped []backend.Task
	todo := []*record{top}
	for n := 1; len(todo) > 0; n++ {
		r := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if r.gone {
			continue
		}
		if !(st.Below && r == top) && s.stop(r, st.Reason) {
			stopped = append(stopped, r.Task)
		}
		if r.kids != nil {
			todo = append(todo, r.kids.roll.list...)
		}
		if n%stopChunk == 0 {
			s.mu.Unlock()
			s.mu.Lock()
		}
	}
	return stopped, nil
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
