// Package reach keeps what an adapter knows of its server: whether it can be reached, and if not, why. Operations ask it
// first, so that they fail at once where waiting is of no use, and those under way end when the server goes. Whoever wants
// to know waits for the next change.
//
// The adapter looks for itself and says what it found, by Lost and Found.
package reach

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
)

// A State is that of one server. Its methods are safe for concurrent use. Make one with New.
type State struct {
	mu      sync.Mutex
	err     *backend.Error // nil: as far as is known the server is there
	losses  int
	changed chan struct{} // closed at the next change

	here context.Context // ends when the server goes
	gone context.CancelCauseFunc
}

// New returns the state of a server of which nothing is known: operations may try.
func New() *State {
	s := &State{changed: make(chan struct{})}
	s.here, s.gone = context.WithCancelCause(context.Background())
	return s
}

// Get says why operations fail now, nil: they don't; and returns a channel that is closed at the next change of that.
func (s *State) Get() (changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return s.changed, nil
	}
	return s.changed, s.err
}

// Lost notes that the server is away, or refuses us, and ends the operations under way. One that is away is unavailable to
// operations, whatever kept it from answering.
func (s *State) Lost(why error) {
	code := backend.CodeOf(why)
	e := backend.Errorf(code, "%w", why)
	if code == backend.ErrUnavailable || code == backend.ErrDeadlineExceeded || code == backend.ErrCanceled {
		e = backend.Errorf(backend.ErrUnavailable, "%w", fmt.Errorf("%w: %w", backend.ErrServerDown, why))
	}
	if text, ok := errors.AsType[*backend.Error](why); ok {
		e.Message = text.Message
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.err == nil
	s.err = e.With(backend.OutcomeNotSent)
	s.losses++
	s.change()
	if first {
		s.gone(&gone{s.err})
	}
}

// Losses is how often the server was lost. A look at it begins with that, and ends with Found.
func (s *State) Losses() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.losses
}

// Found notes that the server is there, unless it was lost since Losses said so.
func (s *State) Found(losses int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil || s.losses != losses {
		return
	}
	s.err = nil
	s.here, s.gone = context.WithCancelCause(context.Background())
	s.change()
}

// change tells those who wait. s.mu is held.
func (s *State) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Guard begins an operation: where the server is away the error says so, with OutcomeNotSent, and wraps
// [backend.ErrServerDown]; else the context ends with ctx, or when the server goes ([Away] tells). done, which is never nil,
// ends the operation.
func (s *State) Guard(ctx context.Context) (_ context.Context, done context.CancelFunc, err error) {
	s.mu.Lock()
	here, away := s.here, s.err
	s.mu.Unlock()
	if away != nil {
		return ctx, func() {}, away
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(here, func() { cancel(context.Cause(here)) })
	return ctx, func() { stop(); cancel(nil) }, nil
}

// Untrusted says that a connection failed because one side doesn't trust the other's certificate: the server is there, and
// time won't mend that. Drivers pass on the text of such an error, if not the error.
func Untrusted(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "tls: failed to verify certificate") || strings.Contains(text, "remote error: tls: ")
}

// gone is why an operation was ended.
type gone struct{ why *backend.Error }

func (g *gone) Error() string { return g.why.Error() }
func (g *gone) Unwrap() error { return g.why }

// Away returns why the server was lost, if that is what has ended an operation's context; else nil.
func Away(ctx context.Context) *backend.Error {
	if g, ok := errors.AsType[*gone](context.Cause(ctx)); ok {
		return g.why
	}
	return nil
}
