package tasks

import (
	"sync"
	"sync/atomic"
	"time"
)

// A suspectSlot allows a process to run one suspect at a time: a task that may have killed the process that ran it
// before. All pools share the slot, so the next death of this process is explained by at most one task. The zero
// value is free.
type suspectSlot struct{ taken atomic.Bool }

// isFree reports whether a claim may request a suspect. Claims of several pools may get one each; then one runs and
// the others are released. This is rare, and holding the slot during every claim would keep the others from finding
// suspects.
func (s *suspectSlot) isFree() bool { return !s.taken.Load() }

// holdSuspect takes the slot for a suspect, or returns nil if it is taken. The slot is free again after the suspect
// has run for test, which clears it, or when the returned function is called.
func (e *Engine) holdSuspect(test time.Duration) func() {
	if !e.suspects.taken.CompareAndSwap(false, true) {
		return nil
	}
	end := sync.OnceFunc(func() {
		e.suspects.taken.Store(false)
		for _, p := range e.pools {
			p.pollSoon()
		}
	})
	// The store measures the same time with its own clock, which may be a little slower.
	timer := time.AfterFunc(test+test/50+10*time.Millisecond, end)
	return func() {
		timer.Stop()
		end()
	}
}
