package runtime

import (
	"context"
	"fmt"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/grace"
)

// A starting is a running Start. It holds no lock during I/O, so that Shutdown can cancel it.
type starting struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	over   chan struct{} // closed when Start has returned
}

var errStartEnded = NewError(ErrFailedPrecondition, "the app was shut down while it was starting")

// Start starts the registered services and workers. From then on the App can make calls and submit tasks. ctx limits
// the start only. If registrations are invalid, Start returns all of their errors, joined. After an error the App can
// only be shut down. If Shutdown is called while Start is running, Start returns [ErrFailedPrecondition].
//
// In a child process, which runs one task of a worker with isolation=process, Start runs that task and exits the
// process. So main runs up to Start, and code after it and deferred calls do not run.
func (a *App) Start(ctx context.Context) error {
	if err := checkContext(ctx, "Start"); err != nil {
		return err
	}
	return a.process.start(ctx)
}

func (p ownProcess) start(ctx context.Context) error {
	s, err := p.app.begin(ctx)
	if err != nil {
		return err
	}
	return p.app.finish(s)
}

// begin is the part of Start without I/O. It ends the registration of services and workers.
func (a *App) begin(ctx context.Context) (*starting, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.state.CompareAndSwap(stateOpen, stateStarting) {
		return nil, NewError(ErrFailedPrecondition, "Start: the app has already been started, by Start or Run, or shut down")
	}
	if err := a.checkRegistrations(); err != nil {
		return nil, err
	}
	s := &starting{over: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	a.starting = s
	return s, nil
}

// finish is the rest of Start.
func (a *App) finish(s *starting) error {
	defer close(s.over)
	defer s.cancel(nil)
	err := a.serveAll(s.ctx)
	if err == nil {
		err = a.startTasks(s.ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.state.Load() != stateStarting && err == nil:
		return fmt.Errorf("Start: %w", errStartEnded)
	case a.state.Load() != stateStarting:
		return fmt.Errorf("Start: %w: %w", errStartEnded, err)
	case err != nil:
		return err
	}
	a.state.Store(stateRunning)
	close(a.started)
	a.log.Info("started", append([]any{"backend", a.ports.Name, "services", len(a.services), "workers", len(a.workers)},
		a.locationAttrs()...)...)
	return nil
}

// serveAll starts answering the calls of all services.
func (a *App) serveAll(ctx context.Context) error {
	for _, s := range a.services {
		if err := a.serve(ctx, s); err != nil {
			return fmt.Errorf("serving %s: %w", s.Name, backend.AsError(err))
		}
	}
	return nil
}

// startTasks starts running tasks, if the backend supports them.
func (a *App) startTasks(ctx context.Context) error {
	var err error
	switch {
	case a.core != nil:
		err = a.core.start(ctx, a.workers)
	case len(a.workers) > 0:
		err = Errorf(ErrUnimplemented, "backend %q does not support tasks", a.ports.Name)
	}
	if err != nil {
		return fmt.Errorf("starting the workers: %w", backend.AsError(err))
	}
	return nil
}

// end cancels a Start and waits until it has returned, at most grace.Abandon longer than ctx. s may be nil.
func (s *starting) end(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.cancel(errStartEnded)
	longer, cancel := grace.Outlast(ctx, grace.Abandon)
	defer cancel()
	select {
	case <-s.over:
		return nil
	case <-longer.Done():
	}
	return Errorf(ErrDeadlineExceeded, "Start did not return after its context ended, abandoned: %w", context.Cause(ctx))
}
