// Package connstate tracks whether an adapter's server is available, and if not, why.
//
// The adapter probes its server and records the result with [State.SetUp] and [State.SetDown]. Operations start with
// [State.Guard]: they fail at once while the server is down, and are cancelled when it goes down. [State.Get] reports
// the current state and lets callers wait for the next change.
package connstate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
)

// A State is the availability of one server. Create it with [New]. Its methods are safe for concurrent use.
type State struct {
	mu      sync.Mutex
	err     *backend.Error // nil: up, or unknown
	epoch   int
	changed chan struct{} // closed at the next change

	up  context.Context // cancelled when the server goes down
	end context.CancelCauseFunc
}

// New returns the state of a server that has not been probed yet. Operations are allowed.
func New() *State {
	s := &State{changed: make(chan struct{})}
	s.up, s.end = context.WithCancelCause(context.Background())
	return s
}

// Get returns the error with which operations fail now, or nil, and a channel that is closed at the next change.
func (s *State) Get() (changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return s.changed, nil
	}
	return s.changed, s.err
}

// SetDown records that the server is unreachable or rejects the client, and cancels running operations. Operations see
// an unreachable server as [backend.ErrUnavailable] wrapping [backend.ErrServerDown], whether why is a timeout, a
// cancellation or a failed connection.
func (s *State) SetDown(why error) {
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
	s.epoch++
	s.notify()
	if first {
		s.end(&downError{s.err})
	}
}

// Epoch returns how often SetDown was called. A probe reads it first and passes it to SetUp.
func (s *State) Epoch() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

// SetUp records that the server is available. It does nothing if SetDown was called since Epoch returned epoch.
func (s *State) SetUp(epoch int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil || s.epoch != epoch {
		return
	}
	s.err = nil
	s.up, s.end = context.WithCancelCause(context.Background())
	s.notify()
}

// notify wakes callers that wait for a change. The caller holds s.mu.
func (s *State) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Guard starts an operation. While the server is down, it fails with an error that has OutcomeNotSent and, if the
// server is unreachable, wraps [backend.ErrServerDown]. Otherwise the returned context ends with ctx or when the server
// goes down; see [DownCause]. The caller calls done, which is never nil, when the operation ends.
func (s *State) Guard(ctx context.Context) (_ context.Context, done context.CancelFunc, err error) {
	s.mu.Lock()
	up, down := s.up, s.err
	s.mu.Unlock()
	if down != nil {
		return ctx, func() {}, down
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(up, func() { cancel(context.Cause(up)) })
	return ctx, func() { stop(); cancel(nil) }, nil
}

// CertificateError reports whether err means that the client or the server rejected the other's certificate. Such a
// server is reachable, and retrying doesn't help. It also looks at the text of err, since drivers don't always wrap the
// TLS error.
func CertificateError(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "tls: failed to verify certificate") || strings.Contains(text, "remote error: tls: ")
}

// A downError is the cause of an operation's context that was cancelled because the server went down.
type downError struct{ why *backend.Error }

func (e *downError) Error() string { return e.why.Error() }
func (e *downError) Unwrap() error { return e.why }

// DownCause returns why the server went down if that cancelled ctx, which Guard returned. Otherwise it returns nil.
func DownCause(ctx context.Context) *backend.Error {
	if e, ok := errors.AsType[*downError](context.Cause(ctx)); ok {
		return e.why
	}
	return nil
}
