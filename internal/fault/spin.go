package fault

import (
	"fmt"
	"time"
)

// maxAtOnce is how many changes in a World, or calls of one process, may happen at one instant. Time does not pass while
// processes repeat an operation without a pause, so that such a test would never end. It panics instead.
const maxAtOnce = 20_000

// A spin counts the calls of a process at one instant.
type spin struct {
	at   time.Time
	n    int
	last []string // operations
}

// count counts a call, and panics with the last operations if the process spins.
func (s *spin) count(op string) {
	if now := time.Now(); !now.Equal(s.at) {
		s.at, s.n, s.last = now, 0, s.last[:0]
	}
	if s.n++; s.n < maxAtOnce-30 {
		return
	}
	if s.last = append(s.last, op); s.n >= maxAtOnce {
		panic(fmt.Sprintf("%d calls of a process at once, the last ones: %q", s.n, s.last))
	}
}
