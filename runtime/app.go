package runtime

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
)

// A Backend is what an App stands on; packages below runtime/backend make one.
type Backend = backend.Backend

// The states of an App. They only rise.
const (
	stateOpen int32 = iota
	stateStarting
	stateRunning
	stateStopping
	stateClosed
)

// An App is one running instance: the [Caller], [Registrar] and [TaskClient] that generated code wants. Its methods are
// safe for concurrent use. Whoever opened it ends it, by Run or Shutdown.
type App struct {
	settings settings
	log      *slog.Logger
	closeLog func() error // nil where the log is not the App's to close
	instance Instance
	ports    *backend.Ports
	caller   Caller              // the middleware's chain, ending in a.invoke
	inFlight *semaphore.Weighted // calls
	pending  *semaphore.Weighted // bytes of their arguments
	called   atomic.Uint64
	strange  mismatches
	tasks    *engine // nil where the backend keeps no tasks
	pipe     *pipe   // of a child process to its parent; nil in every other

	receivers  receivers
	snowflakes *snowflakes

	state   atomic.Int32
	started chan struct{} // closed when Start has succeeded, or when Shutdown begins

	mu       sync.Mutex
	services []ServiceSpec
	workers  []WorkerSpec
	late     []error // what was registered too late
	servings []backend.Serving
	served   []served
	closed   chan struct{} // when Shutdown has ended; made by the first one
	closeErr error
}

var (
	_ Caller     = (*App)(nil)
	_ Registrar  = (*App)(nil)
	_ TaskClient = (*App)(nil)
)

// Open opens an App on a backend. ctx bounds the opening, connecting included, and nothing after it.
func Open(ctx context.Context, b Backend, opts ...AppOption) (*App, error) {
	if err := refuseNil(ctx, "Open"); err != nil {
		return nil, err
	}
	if b == nil {
		return nil, NewError(ErrInvalidArgument, "Open: the backend is nil")
	}
	s := defaults()
	for _, o := range opts {
		if o != nil {
			o(&s)
		}
	}
	if err := checkLease(s.lease); err != nil {
		return nil, err
	}
	a := &App{settings: s, log: slog.Default(), instance: newInstance(s), started: make(chan struct{}), snowflakes: newSnowflakes()}
	a.inFlight, a.pending = semaphore.NewWeighted(s.maxCalls), semaphore.NewWeighted(s.maxPending)
	a.caller = CallerFunc(a.invoke)
	for i := len(s.client) - 1; i >= 0; i-- {
		if a.caller = s.client[i](a.caller); a.caller == nil {
			return nil, NewError(ErrInvalidArgument, "Open: a client middleware has returned nil")
		}
	}
	if self := child.Self(); self != nil {
		return a, openChild(a, self)
	}
	if err := a.openLog(); err != nil {
		return nil, fmt.Errorf("opening the log: %w", local(err))
	}
	ports, err := b.Open(ctx, backend.Env{Instance: a.instance, Logger: a.log})
	if err != nil {
		err = fmt.Errorf("opening the backend: %w", local(err))
		if a.closeLog != nil {
			err = errors.Join(err, a.closeLog())
		}
		return nil, err
	}
	a.ports = ports
	if ports.Store != nil {
		a.tasks = newEngine(a)
	}
	return a, nil
}

// AddService takes a service to serve from Start on. Generated RegisterX functions call it.
func (a *App) AddService(s ServiceSpec) {
	a.add(s.Type, func() { a.services = append(a.services, s) })
}

// AddWorker takes a worker to run from Start on. Generated RegisterX functions call it.
func (a *App) AddWorker(w WorkerSpec) {
	a.add(w.Type, func() { a.workers = append(a.workers, w) })
}

// add records a registration, which can't return its error: one that comes too late is logged, and Shutdown returns it.
func (a *App) add(typ string, register func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.Load() == stateOpen {
		register()
		return
	}
	err := Errorf(ErrFailedPrecondition, "%s: the app has been started; register first", registering(typ))
	a.late = append(a.late, err)
	a.log.Error("registered too late, not served", "type", typ)
}

// Start serves what has been registered and makes calls possible. ctx bounds the starting only. It returns all that is
// wrong with the registrations, joined; after an error the App can only be shut down.
//
// In a child process, which runs one task of a worker with isolation=process, Start runs that task and the process exits:
// nothing after Start in main runs there, no deferred call either, and everything before it does.
func (a *App) Start(ctx context.Context) error {
	if err := refuseNil(ctx, "Start"); err != nil {
		return err
	}
	if a.pipe != nil {
		return a.startChild()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.state.CompareAndSwap(stateOpen, stateStarting) {
		return NewError(ErrFailedPrecondition, "Start: the app has been started or shut down before; Run starts it, too")
	}
	if err := a.checkRegistrations(); err != nil {
		return err
	}
	for _, s := range a.services {
		serving, err := a.serve(ctx, s)
		if err != nil {
			return fmt.Errorf("serving %s: %w", s.Name, local(err))
		}
		a.servings = append(a.servings, serving)
	}
	if err := a.startTasks(ctx); err != nil {
		return fmt.Errorf("starting the workers: %w", local(err))
	}
	a.state.Store(stateRunning)
	close(a.started)
	a.log.Info("started", "backend", a.ports.Name, "services", len(a.services),
		"workers", len(a.workers))
	return nil
}

// startTasks begins to run tasks, where the backend keeps any.
func (a *App) startTasks(ctx context.Context) error {
	if a.tasks != nil {
		return a.tasks.start(ctx, a.workers)
	}
	if len(a.workers) > 0 {
		return Errorf(ErrUnimplemented, "the backend %s keeps no tasks", a.ports.Name)
	}
	return nil
}

// registering is what registers a type, for errors. HandleJob makes types that no program can have.
func registering(typ string) string {
	if id, job := strings.CutPrefix(typ, handledType); job {
		return fmt.Sprintf("HandleJob %q", id)
	}
	return "Register" + typ
}

// checkRegistrations returns all that is wrong with what was registered.
func (a *App) checkRegistrations() error {
	var errs []error
	seen := map[string]string{}
	check := func(kind, name, typ string, err error) {
		if err != nil {
			errs = append(errs, err)
		}
		if name == "" {
			errs = append(errs, Errorf(ErrInvalidArgument, "%s: the %s has no name", registering(typ), kind))
		}
		if other, ok := seen[kind+" "+name]; ok {
			errs = append(errs, Errorf(ErrAlreadyExists, "%s: %s %q is registered already, by %s",
				registering(typ), kind, name, registering(other)))
		}
		seen[kind+" "+name] = typ
	}
	for _, s := range a.services {
		check("service", s.Name, s.Type, s.Err)
	}
	for _, w := range a.workers {
		check("worker", w.Name, w.Type, w.Err)
		switch w.Isolation {
		case "", "goroutine", "process":
		default:
			errs = append(errs, Errorf(ErrInvalidArgument, "%s: there is no isolation %q", registering(w.Type), w.Isolation))
		}
	}
	return errors.Join(append(errs, checkJobs(a.workers)...)...)
}

// Run starts the App, waits until ctx ends or the process gets SIGINT or SIGTERM, and drains it, for [DrainTimeout] at
// most. It returns nil after a complete drain. A second signal kills the process as it would any other.
func (a *App) Run(ctx context.Context) error {
	if a.pipe != nil {
		return a.runUntil(ctx)
	}
	if err := refuseNil(ctx, "Run"); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := a.Start(ctx)
	if err == nil {
		<-ctx.Done()
		a.log.Info("stopping", "reason", context.Cause(ctx))
	}
	stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.settings.drain)
	defer cancel()
	return errors.Join(err, a.Shutdown(ctx))
}

// abandonAfter is how long Shutdown waits for handlers whose contexts it has cancelled.
const abandonAfter = time.Second

// Shutdown drains the App: it takes no more calls and tasks, lets those that run finish until ctx ends, cancels those
// that still run then (their tasks go on elsewhere, no attempt charged), and closes the backend. It returns nil after a
// complete drain, and says what was cancelled otherwise. A second Shutdown waits for the first. It never touches signals.
func (a *App) Shutdown(ctx context.Context) error {
	if err := refuseNil(ctx, "Shutdown"); err != nil {
		return err
	}
	if a.pipe != nil {
		return a.closeChild()
	}
	a.mu.Lock()
	if closed := a.closed; closed != nil {
		a.mu.Unlock()
		select {
		case <-closed:
			return a.closeErr
		case <-ctx.Done():
			return Errorf(CodeOf(ctx.Err()), "waiting for another Shutdown: %w", context.Cause(ctx))
		}
	}
	a.closed = make(chan struct{})
	if a.state.Swap(stateStopping) != stateRunning {
		close(a.started)
	}
	servings, errs := a.servings, a.late
	a.mu.Unlock()

	if a.tasks != nil {
		a.tasks.quit() // tasks and calls drain side by side
	}
	a.receivers.quit()
	errs = append(errs, a.drain(ctx, servings)...)
	errs = append(errs, a.receivers.drain(ctx))
	if a.tasks != nil {
		errs = append(errs, a.tasks.stop(ctx))
	}
	a.state.Store(stateClosed)
	// The backend gets a moment even where the drain has used up the time.
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonAfter)
	defer cancel()
	a.snowflakes.close(cctx, a.log)
	if err := a.ports.Close(cctx); err != nil {
		errs = append(errs, fmt.Errorf("closing the backend: %w", local(err)))
	}
	a.log.Info("stopped")
	if a.closeLog != nil {
		if err := a.closeLog(); err != nil {
			errs = append(errs, fmt.Errorf("closing the log: %w", local(err)))
		}
	}
	a.closeErr = errors.Join(errs...)
	close(a.closed)
	return a.closeErr
}

// drain ends all servings side by side and returns what could not be ended in time.
func (a *App) drain(ctx context.Context, servings []backend.Serving) []error {
	errs := make([]error, len(servings))
	var wg sync.WaitGroup
	for i, s := range servings {
		wg.Go(func() {
			if errs[i] = s.Drain(ctx); errs[i] == nil {
				return
			}
			s.Close(NewError(ErrUnavailable, "the instance is shutting down"))
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonAfter)
			defer cancel()
			if err := s.Drain(grace); err != nil {
				a.log.Error("handlers ignore their context; abandoned", "error", err)
			}
		})
	}
	wg.Wait()
	return errs
}

// Instance returns what this App is to others.
func (a *App) Instance() Instance { return a.instance }

// NewID returns an id that no other call anywhere returns: 26 letters and digits, random, without I/O. [App.Snowflake] makes
// ids that sort by time.
func (a *App) NewID() string { return rand.Text() }

// Power returns what the backend hands out beyond its ports, nil where that is nothing. The package of the backend knows
// what it is: servers.Mongo(app) is how a program over the servers gets at its database.
func (a *App) Power() any { return a.ports.Power }

// awaitStart holds a request back that comes while Start is still at work, so that a handler finds the services beside
// its own. It returns false where it must not be handled.
func (a *App) awaitStart(ctx context.Context) bool {
	if a.state.Load() == stateStarting {
		select {
		case <-a.started:
		case <-ctx.Done():
		}
	}
	return a.state.Load() != stateStarting
}

// admit says whether calls can be made now.
func (a *App) admit() *Error {
	switch a.state.Load() {
	case stateOpen, stateStarting:
		return NewError(ErrFailedPrecondition, "the app has not been started").With(OutcomeNotSent)
	case stateClosed:
		return NewError(ErrFailedPrecondition, "the app has been shut down").With(OutcomeNotSent)
	}
	return nil
}
