package memory

import (
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// An owner is a process that claims tasks. It is known from its first Beat or Claim on, and remembered after it has
// expired.
type owner struct {
	count    int64
	lastBeat time.Time // when count last rose
	expired  bool
	draining bool
	running  []*record
	claims   map[string]*claim // by nonce
}

func (s *store) owner(name string) *owner {
	o := s.owners[name]
	if o == nil {
		o = &owner{claims: map[string]*claim{}}
		s.owners[name] = o
	}
	return o
}

func ownerExpired(name string) error {
	return backend.Errorf(backend.ErrAborted, "owner %q was declared dead and lost its tasks", name)
}

// claimedBy returns the tasks of a claim, oldest first.
func (o *owner) claimedBy(cl *claim) []backend.Task {
	held := make([]*record, 0, cl.n)
	for _, r := range o.running {
		if r.claim == cl {
			held = append(held, r)
		}
	}
	slices.SortFunc(held, byCreation)
	tasks := make([]backend.Task, len(held))
	for i, r := range held {
		tasks[i] = r.Task
	}
	return tasks
}

// Beat implements backend.Store.
func (s *store) Beat(ctx context.Context, name string, count int64) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owner(name)
	if o.expired {
		return ownerExpired(name)
	}
	if count > o.count {
		o.count, o.lastBeat = count, s.now().wall
	}
	return nil
}

// Drain implements backend.Store.
func (s *store) Drain(ctx context.Context, name string) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o := s.owners[name]; {
	case o == nil:
		return nil
	case o.expired:
		return ownerExpired(name)
	default:
		o.draining = true
		return nil
	}
}

// Owners implements backend.Store.
func (s *store) Owners(ctx context.Context) (map[string]backend.Heartbeat, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	beats := make(map[string]backend.Heartbeat, len(s.owners))
	for name, o := range s.owners {
		if !o.expired {
			beats[name] = backend.Heartbeat{Count: o.count, At: o.lastBeat}
		}
	}
	return beats, nil
}

// ExpireOwner implements backend.Store.
func (s *store) ExpireOwner(ctx context.Context, name string, count int64, maxCrashes int) ([]backend.Task, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owners[name]
	if o == nil || o.count != count {
		return nil, nil
	}
	again := o.expired // what runs was claimed after the owner expired, and no handler has started
	o.expired = true
	now := s.now()
	lost := slices.Clone(o.running)
	slices.SortFunc(lost, byCreation)
	tasks := make([]backend.Task, len(lost))
	for i, r := range lost {
		tasks[i] = r.Task
	}
	loss := backend.Loss{Owner: name, Void: true}
	if !again {
		loss = backend.NewLoss(name, tasks, o.lastBeat, now.wall, maxCrashes)
		loss.Void = o.draining
	}
	for i, r := range lost {
		s.expireClaim(r, &loss, now)
		tasks[i] = r.Head()
	}
	return tasks, nil
}

// expireClaim ends the claim that an expired owner holds on a task (rows 7 and 10).
func (s *store) expireClaim(r *record, loss *backend.Loss, now timestamp) {
	if r.Stopping {
		r.Error = reasonError(nil, r.reason)
		s.addAttempt(r, backend.AttemptStopped, r.Error, "", now)
		s.transition(10, r, backend.StatusStopped, now)
		return
	}
	freed := r.Task
	wait := loss.Free(&freed)
	var why *backend.TaskError
	if freed.Status == backend.StatusFailed {
		why = freed.Error
	}
	s.addAttempt(r, backend.AttemptLost, why, "", now)
	if wait > 0 {
		r.setDelay(wait, now)
	}
	r.Attempt, r.Crashes, r.Suspect, r.Error = freed.Attempt, freed.Crashes, freed.Suspect, freed.Error
	s.transition(7, r, freed.Status, now)
}

// Refund implements backend.Store.
func (s *store) Refund(ctx context.Context, name string) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owners[name]; o == nil || !o.expired {
		return nil
	}
	now := s.now()
	for _, r := range s.tasks {
		t := r.Task
		if !t.Refund(name) {
			continue
		}
		waits := r.place != notWaiting
		if waits {
			r.queue.removeWaiting(r, false) // suspects wait in another priorityQueue
		}
		r.Crashes, r.Suspect = t.Crashes, t.Suspect
		if waits {
			r.queue.addWaiting(r, now.at)
		}
	}
	return nil
}

// Owned implements backend.Store.
func (s *store) Owned(ctx context.Context, name string) ([]backend.Owned, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owners[name]
	if o == nil {
		return nil, nil
	}
	owned := make([]backend.Owned, len(o.running))
	for i, r := range o.running {
		owned[i] = backend.Owned{ID: r.ID, Queue: r.Queue, Fence: r.Fence, Stopping: r.Stopping}
	}
	return owned, nil
}
