package runtime

import (
	"context"
	"fmt"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/grace"
)

// A starting is a Start that holds no lock over I/O, so that Shutdown can end it.
type starting struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	over   chan struct{} // closed when it has returned
}

var errStartEnded = NewError(ErrFailedPrecondition, "the app was shut down while it was starting")

// Start starts the registered services and workers, and makes calls possible. ctx limits the start only. If
// registrations are wrong, Start returns all of their errors, joined. After an error the App can only be shut down. If
// Shutdown is called while Start is running, Start returns [ErrFailedPrecondition].
//
// In a child process, which runs one task of a worker with isolation=process, Start runs that task and exits the
// process: code of main before Start runs, code after it and deferred calls do not.
func (a *App) Start(ctx context.Context) error {
	if err := refuseNil(ctx, "Start"); err != nil {
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

// begin is the part of Start without I/O. From now on there are no more registrations.
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
	a.log.Info("started", "backend", a.ports.Name, "services", len(a.services), "workers", len(a.workers))
	return nil
}

// serveAll begins to answer calls to all services.
func (a *App) serveAll(ctx context.Context) error {
	for _, s := range a.services {
		serving, err := a.serve(ctx, s)
		if err != nil {
			return fmt.Errorf("serving %s: %w", s.Name, backend.AsError(err))
		}
		a.mu.Lock()
		a.servings = append(a.servings, serving)
		a.mu.Unlock()
	}
	return nil
}

// startTasks begins to run tasks, where the backend keeps any.
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

// end cancels a Start and waits until it has returned, for grace.Abandon longer than ctx at most. s may be nil.
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
	return Errorf(ErrDeadlineExceeded, "Start ignores its context, abandoned: %w", context.Cause(ctx))
}
