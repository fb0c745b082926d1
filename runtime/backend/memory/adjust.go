package memory

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// Adjust implements backend.Store.
func (s *store) Adjust(ctx context.Context, a backend.Adjustment) (backend.Task, error) {
	if err := checkContext(ctx); err != nil {
		return backend.Task{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.tasks[a.ID]
	switch {
	case r == nil:
		return backend.Task{}, noTask(a.ID)
	case r.Status.Final() || a.Now && r.Status == backend.StatusRunning:
		return backend.Task{}, a.ErrorRefused(r.Status)
	case a.Now && r.gateClosed:
		return backend.Task{}, a.ErrorGated()
	}
	now := s.now()
	early := a.Now && r.due > now.at
	if !early && (a.Weight == nil || *a.Weight == r.Weight) {
		return r.Head(), nil
	}
	waits := r.place != notWaiting
	if waits {
		r.queue.removeWaiting(r, false)
	}
	if early {
		r.setDelay(0, now)
	}
	if a.Weight != nil {
		r.Weight = *a.Weight
	}
	if waits {
		r.queue.addWaiting(r, now.at)
	}
	return r.Head(), nil
}
