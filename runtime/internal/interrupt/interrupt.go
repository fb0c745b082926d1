// Package interrupt handles the signals that end a process: SIGINT and SIGTERM ask for a drain, a second one for haste, and a
// third one kills. The process ends then as if the signal had not been handled, which its parent sees.
package interrupt

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// A Cause is a signal as the cause of the end of a context.
type Cause struct{ os.Signal }

func (c Cause) Error() string { return c.String() + " signal received" }

// A Handler is what signals do.
type Handler struct {
	Log      *slog.Logger
	Draining func() bool       // reports whether a drain has begun
	Drain    func(cause error) // called by the first signal, unless a drain has begun
	Hurry    func(cause error) // called by the next one
}

// Handle handles SIGINT and SIGTERM until release is called.
func (h Handler) Handle() (release func()) {
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	released := make(chan struct{})
	go func() {
		hurried := false
		for begun := false; ; begun = true {
			select {
			case s := <-signals:
				switch {
				case hurried:
					die(s)
				case begun || h.Draining():
					hurried = true
					h.Log.Warn("another signal: cancelling running handlers; one more kills the process", "signal", s.String())
					h.Hurry(Cause{s})
				default:
					h.Drain(Cause{s})
				}
			case <-released:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(released)
	}
}

// SurviveBrokenPipes lets writes to a standard output or error without a reader fail with EPIPE until release is called. Without
// it the first one kills the process, which its log must not. It notifies rather than ignores the signal: processes that are
// started would inherit that.
func SurviveBrokenPipes() (release func()) {
	unread := make(chan os.Signal, 1)
	signal.Notify(unread, syscall.SIGPIPE)
	return func() { signal.Stop(unread) }
}
