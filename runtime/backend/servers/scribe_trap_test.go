//go:build unix

package servers_test

import (
	"slices"
	"testing"
	"time"
)

// A moment is before a command has its effect, or after it had and before anybody knows.
type moment int

const (
	before moment = iota
	after
)

// A trap does something when a command comes, once; then the command's connection ends: at the moment before it has no
// effect, at the one after no reply.
type trap struct {
	what   func(*command) bool
	when   moment
	do     func(*command) // nil does nothing
	sprung chan struct{}  // closed once it was done
}

// set sets a trap.
func (s *scribe) set(when moment, what func(*command) bool, do func(*command)) *trap {
	tr := &trap{what, when, do, make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traps = append(s.traps, tr)
	return tr
}

// trapped springs the trap that a command is for, if there is one.
func (s *scribe) trapped(c *command, when moment) bool {
	s.mu.Lock()
	i := slices.IndexFunc(s.traps, func(tr *trap) bool { return tr.when == when && tr.what(c) })
	if i < 0 {
		s.mu.Unlock()
		return false
	}
	tr := s.traps[i]
	s.traps = slices.Delete(s.traps, i, i+1)
	s.mu.Unlock()
	if tr.do != nil {
		tr.do(c)
	}
	close(tr.sprung)
	return true
}

// await waits until a trap has sprung.
func (tr *trap) await(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-tr.sprung:
	case <-time.After(within):
		t.Fatalf("nothing has gone into the trap within %v", within)
	}
}
