package receive

import (
	"context"
	"strings"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/grace"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// A Set has the running receivers of an App. It is safe for concurrent use.
type Set struct {
	mu      sync.Mutex
	active  map[*Receiver]bool
	closing bool
	left    sync.WaitGroup
}

// Receive runs a receiver until ctx ends, Quit is called, or the transport returns an error. It returns nil after Quit.
// If that was called before, it returns ErrFailedPrecondition.
func (s *Set) Receive(ctx context.Context, c Config) error {
	r := &Receiver{Config: c}
	r.taking, r.quit = context.WithCancel(ctx)
	defer r.quit()
	r.ctx, r.cut = context.WithCancelCause(ctx)
	defer r.cut(nil)
	if !s.add(r) {
		return backend.Errorf(backend.ErrFailedPrecondition, "receiving from queue %q: the app is shutting down", c.Queue).
			With(backend.OutcomeNotSent)
	}
	defer s.remove(r)
	return r.receive(ctx)
}

// add adds a receiver. It returns false after Quit.
func (s *Set) add(r *Receiver) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	if s.active == nil {
		s.active = map[*Receiver]bool{}
	}
	s.active[r] = true
	s.left.Add(1)
	return true
}

func (s *Set) remove(r *Receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, r)
	s.left.Done()
}

// Quit stops all receivers from taking further messages.
func (s *Set) Quit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for r := range s.active {
		r.quit()
	}
}

// Handling returns the number of running receivers of each queue. After Quit these are the ones that are handling a
// message.
func (s *Set) Handling() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{}
	for r := range s.active {
		n[r.Queue]++
	}
	return n
}

// some returns up to most running receivers.
func (s *Set) some(most int) (some []*Receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.active {
		if len(some) < most {
			some = append(some, r)
		}
	}
	return some
}

// Drain waits until all messages are handled or ctx ends. Then it cancels the contexts of the remaining handlers with a
// cause and waits for up to grace.Abandon.
func (s *Set) Drain(ctx context.Context, cause error) error {
	left := make(chan struct{})
	go func() {
		s.left.Wait() // may outlive Drain if a handler hangs
		close(left)
	}()
	select {
	case <-left:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	n := len(s.active)
	for r := range s.active {
		r.cut(cause)
	}
	s.mu.Unlock()
	grace, cancel := grace.Outlast(ctx, grace.Abandon)
	defer cancel()
	select {
	case <-left:
	case <-grace.Done():
		for _, r := range s.some(stack.Most) {
			r.Log.Error("receiver did not return after its context ended, message will be redelivered",
				"stack", strings.Join(r.stuck(), ""))
		}
	}
	if n == 0 {
		return nil
	}
	return backend.Errorf(backend.ErrDeadlineExceeded,
		"%d raw messages were still being handled; those that fail are redelivered", n)
}
