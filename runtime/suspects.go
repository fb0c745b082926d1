package runtime

import (
	"sync"
	"time"
)

// A suspectSlot is a process's right to run one task that may have killed the process that ran it before. All pools share it:
// the next death of this process is then explained by one task at most. The zero value is free.
type suspectSlot struct {
	mu    sync.Mutex
	taken bool
}

// take takes the slot, and reports whether it was free.
func (s *suspectSlot) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	free := !s.taken
	s.taken = true
	return free
}

func (s *suspectSlot) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = false
}

// holdSuspect keeps the slot for a suspect that has begun to run. It is free again once the suspect has run for test, which
// clears it, or when the returned function is called.
func (e *engine) holdSuspect(test time.Duration) func() {
	end := sync.OnceFunc(func() {
		e.suspects.free()
		for _, p := range e.pools {
			p.lookSoon()
		}
	})
	// A store measures the same from the claim to a later one, by its own clock, which may be a little slower.
	timer := time.AfterFunc(test+test/50+10*time.Millisecond, end)
	return func() {
		timer.Stop()
		end()
	}
}
