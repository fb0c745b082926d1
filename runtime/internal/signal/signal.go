// Package signal wakes a goroutine that waits for work. Setting a signal never blocks. Several sets before the
// goroutine wakes count as one, so the work is stored elsewhere and the goroutine does all of it.
package signal

// A Signal is set or not. Its methods are safe for concurrent use.
type Signal chan struct{}

// New returns a Signal that is not set.
func New() Signal { return make(Signal, 1) }

// Set sets the signal. It never blocks.
func (s Signal) Set() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// C returns a channel that receives when the signal is set, which clears it. Only one of several receivers gets it.
func (s Signal) C() <-chan struct{} { return s }
