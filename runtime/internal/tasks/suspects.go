package tasks

import (
	"sync"
	"sync/atomic"
	"time"
)

// A suspectSlot is a process's right to run one task that may have killed the process that ran it before. All pools share it:
// the next death of this process is then explained by one task at most. The zero value is free.
type suspectSlot struct{ taken atomic.Bool }

// isFree reports whether a claim may ask for a suspect. Claims of several pools may get one each: then one of them runs, and the
// others are given back. That is rare, and holding the slot during every claim would keep the others from finding suspects.
func (s *suspectSlot) isFree() bool { return !s.taken.Load() }

// holdSuspect takes the slot for a suspect that is about to run, or returns nil if it is taken. It is free again once the suspect has
// run for test, which clears it, or when the returned function is called.
func (e *Engine) holdSuspect(test time.Duration) func() {
	if !e.suspects.taken.CompareAndSwap(false, true) {
		return nil
	}
	end := sync.OnceFunc(func() {
		e.suspects.taken.Store(false)
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
