package runtime

import (
	"context"
	"fmt"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/lifecycle"
)

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
	s, err := p.app.life.Begin(ctx, p.app.checkRegistrations)
	if err != nil {
		return err
	}
	return p.app.finish(s)
}

// finish is the part of Start with I/O.
func (a *App) finish(s *lifecycle.Start) error {
	defer s.Close()
	err := a.serveAll(s.Context)
	if err == nil {
		err = a.startTasks(s.Context)
	}
	if err := s.Done(err); err != nil {
		return err
	}
	a.hooks.Watch(a.conditions, a.lostLogs)
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
