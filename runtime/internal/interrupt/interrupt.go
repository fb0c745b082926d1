// Package interrupt handles the signals that end a process. The first SIGINT or SIGTERM starts a drain, a second one
// cancels handlers, and a third one kills the process. The parent sees the signal as if it had not been handled.
package interrupt

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// A Cause is a signal as the cause of an ended context.
type Cause struct{ os.Signal }

func (c Cause) Error() string { return c.String() + " signal received" }

// A Handler has the reactions to signals.
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
					h.Log.Warn("second signal, cancelling running handlers; a third one kills the process", "signal", s.String())
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

// SurviveBrokenPipes makes writes to a standard output or error without a reader fail with EPIPE until release is
// called. Otherwise the first one kills the process, and logging must not. It uses signal.Notify instead of
// signal.Ignore, because child processes inherit ignored signals.
func SurviveBrokenPipes() (release func()) {
	unread := make(chan os.Signal, 1)
	signal.Notify(unread, syscall.SIGPIPE)
	return func() { signal.Stop(unread) }
}
