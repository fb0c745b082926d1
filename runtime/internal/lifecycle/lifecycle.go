// Package lifecycle is the state of an App, which it passes in order: open, starting, running, stopping and closed.
//
// Registrations are accepted while it is open ([Lifecycle.Register]). A Start ([Lifecycle.Begin], [Start.Done]) holds
// no lock during I/O, so that [Lifecycle.Shutdown] can cancel it. All of them may be called concurrently, and Shutdown
// several times.
package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/grace"
)

// A State is a state of an App.
type State int32

// The states of an App, in order.
const (
	Open State = iota
	Starting
	Running
	Stopping
	Closed
)

// String returns the name of the state.
func (s State) String() string {
	return [...]string{"open", "starting", "running", "stopping", "closed"}[s]
}

// A Lifecycle is the state of one App. Its methods are safe for concurrent use.
type Lifecycle struct {
	state    atomic.Int32
	started  chan struct{} // closed when Start has succeeded
	draining chan struct{} // closed when Shutdown begins; in a child process, when the parent's Shutdown begins

	mu       sync.Mutex
	starting *Start
	closed   chan struct{} // closed when Shutdown has ended; created by the first Shutdown
	closeErr error
}

// New returns an open Lifecycle.
func New() *Lifecycle {
	return &Lifecycle{started: make(chan struct{}), draining: make(chan struct{})}
}

// State returns the current state.
func (l *Lifecycle) State() State { return State(l.state.Load()) }

// Register calls register if the App is open, and reports whether it is. Once Begin or BeginChild has been called, no
// call of register is running.
func (l *Lifecycle) Register(register func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.State() != Open {
		return false
	}
	register()
	return true
}

// A Start is a running Start of an App.
type Start struct {
	Context context.Context // ends when Shutdown is called

	life   *Lifecycle
	cancel context.CancelCauseFunc
	over   chan struct{} // closed when Start has returned
}

var errEnded = backend.NewError(backend.ErrFailedPrecondition, "the app was shut down while it was starting")

// Begin ends the registrations and begins a Start, within ctx. check, which must not block, checks the registrations.
// After an error the App can only be shut down. Otherwise the caller must call Done and then Close.
func (l *Lifecycle) Begin(ctx context.Context, check func() error) (*Start, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.state.CompareAndSwap(int32(Open), int32(Starting)) {
		return nil, backend.NewError(backend.ErrFailedPrecondition,
			"Start: the app has already been started, by Start or Run, or shut down")
	}
	if err := check(); err != nil {
		return nil, err
	}
	s := &Start{life: l, over: make(chan struct{})}
	s.Context, s.cancel = context.WithCancelCause(ctx)
	l.starting = s
	return s, nil
}

// Done returns the result of the Start, given the error of what it has done. If that is nil, and Shutdown has not been
// called, the App is running.
func (s *Start) Done(err error) error {
	l := s.life
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.State() != Starting && err == nil:
		return fmt.Errorf("Start: %w", errEnded)
	case l.State() != Starting:
		return fmt.Errorf("Start: %w: %w", errEnded, err)
	case err != nil:
		return err
	}
	l.state.Store(int32(Running))
	close(l.started)
	return nil
}

// Close tells Shutdown that the Start has returned.
func (s *Start) Close() {
	s.cancel(nil)
	close(s.over)
}

// Cancel cancels a Start and waits until it has returned, at most grace.Abandon longer than ctx. s may be nil.
func (s *Start) Cancel(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.cancel(errEnded)
	longer, cancel := grace.Outlast(ctx, grace.Abandon)
	defer cancel()
	select {
	case <-s.over:
		return nil
	case <-longer.Done():
	}
	return backend.Errorf(backend.ErrDeadlineExceeded, "Start did not return after its context ended, abandoned: %w",
		context.Cause(ctx))
}

// BeginChild ends the registrations in a child process, which has no state in between: the App is running.
func (l *Lifecycle) BeginChild() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.state.CompareAndSwap(int32(Open), int32(Running)) {
		return backend.NewError(backend.ErrFailedPrecondition, "Start: the app has already been started or shut down")
	}
	close(l.started)
	return nil
}

// Shutdown calls stop with the running Start, which may be nil, unless it has been called before. Then it waits for the
// result of the first call. It returns at most grace.Total after ctx has ended.
func (l *Lifecycle) Shutdown(ctx context.Context, stop func(*Start) error) error {
	l.mu.Lock()
	if closed := l.closed; closed != nil {
		l.mu.Unlock()
		select {
		case <-closed:
			return l.closeErr
		case <-ctx.Done():
			return backend.Errorf(backend.CodeOf(ctx.Err()), "waiting for another Shutdown: %w", context.Cause(ctx))
		}
	}
	l.closed = make(chan struct{})
	l.state.Store(int32(Stopping))
	close(l.draining)
	starting := l.starting
	l.mu.Unlock()

	last, cancel := grace.Outlast(ctx, grace.Total)
	defer cancel()
	if !grace.Await(last, func() {
		l.closeErr = stop(starting)
		close(l.closed)
	}) {
		return backend.Errorf(backend.ErrDeadlineExceeded, "the shutdown did not complete within %v of its deadline: %w",
			grace.Total, context.Cause(ctx))
	}
	return l.closeErr
}

// Close makes the App closed: from now on it refuses calls. It is called once all handlers have ended.
func (l *Lifecycle) Close() { l.state.Store(int32(Closed)) }

// Drain closes the channel of Draining, in a child process. It must be called once at most.
func (l *Lifecycle) Drain() { close(l.draining) }

// Draining returns a channel that is closed when the shutdown begins.
func (l *Lifecycle) Draining() <-chan struct{} { return l.draining }

// IsDraining reports whether the shutdown has begun.
func (l *Lifecycle) IsDraining() bool {
	select {
	case <-l.draining:
		return true
	default:
		return false
	}
}

// AwaitStart blocks a request or the first claim until Start has succeeded, so that the handler can use the App and
// call all services of its instance. It returns false if the request must not be handled.
func (l *Lifecycle) AwaitStart(ctx context.Context) bool {
	select {
	case <-l.started: // even if the App is draining now
		return true
	default:
	}
	select {
	case <-l.started:
		return true
	case <-l.draining:
	case <-ctx.Done():
	}
	return false
}

// Admit returns an error if the App is not in a state in which it can make calls.
func (l *Lifecycle) Admit() *backend.Error {
	switch l.State() {
	case Open, Starting:
		return backend.NewError(backend.ErrFailedPrecondition, "the app has not been started").With(backend.OutcomeNotSent)
	case Closed:
		return backend.NewError(backend.ErrFailedPrecondition, "the app has been shut down").With(backend.OutcomeNotSent)
	}
	return nil
}

// Unready returns an error if each of the purposes of an App is stopped by a condition that is down.
func Unready(conditions []backend.Condition, purposes []backend.Stopped) *backend.Error {
	reason := ""
	for _, p := range purposes {
		i := slices.IndexFunc(conditions, func(c backend.Condition) bool { return !c.Up && slices.Contains(c.Stops, p) })
		if i < 0 {
			return nil
		}
		if reason != "" {
			reason += "; "
		}
		reason += conditions[i].Mode + ": " + conditions[i].Cause
	}
	return backend.Errorf(backend.ErrUnavailable, "not ready: %s", reason)
}
