package runtime

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/grace"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/pipe"
)

// A Backend connects an [App] to other processes and stores its tasks. The packages below runtime/backend each create one:
// memory (one process), embedded (one machine), servers (RabbitMQ, MongoDB and Redis) and auto (as configured). Its methods:
//
//	Open(ctx context.Context, env backend.Env) (*backend.Ports, error) // called by Open
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
	settings  settings
	log       *slog.Logger
	closeLog  func() error // nil where the log is not the App's to close
	instance  Instance
	ports     *backend.Ports
	caller    Caller              // the middleware's chain, ending in a.invoke
	inFlight  *semaphore.Weighted // calls
	pending   *semaphore.Weighted // bytes of their arguments
	called    atomic.Uint64
	strange   mismatches
	announced announced
	tasks     *engine // nil where the backend keeps no tasks
	process   process

	receivers  receivers
	snowflakes *snowflakes

	state    atomic.Int32
	started  chan struct{} // closed when Start has succeeded
	draining chan struct{} // closed when Shutdown begins; in a child process, when that of the parent does

	mu       sync.Mutex
	services []ServiceSpec
	workers  []WorkerSpec
	late     []error // what was registered too late
	starting *starting
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
	if err := heartbeat.CheckLease(s.lease); err != nil {
		return nil, err
	}
	a := &App{settings: s, log: slog.Default(), instance: newInstance(s), started: make(chan struct{}), draining: make(chan struct{}), snowflakes: newSnowflakes()}
	a.inFlight, a.pending = semaphore.NewWeighted(s.maxCalls), semaphore.NewWeighted(s.maxPending)
	a.process = ownProcess{a}
	a.caller = CallerFunc(a.invoke)
	for i := len(s.client) - 1; i >= 0; i-- {
		if a.caller = s.client[i](a.caller); a.caller == nil {
			return nil, NewError(ErrInvalidArgument, "Open: a client middleware has returned nil")
		}
	}
	c, err := pipe.Connect()
	if err != nil {
		return nil, err
	}
	if c != nil {
		a.openChild(c)
		return a, nil
	}
	if err := a.openLog(); err != nil {
		return nil, fmt.Errorf("opening the log: %w", backend.AsError(err))
	}
	ports, err := b.Open(ctx, backend.Env{Instance: a.instance, Logger: a.log})
	if err != nil {
		err = fmt.Errorf("opening the backend: %w", backend.AsError(err))
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
		if w.Weight < -maxWeight || w.Weight > maxWeight {
			errs = append(errs, Errorf(ErrInvalidArgument, "%s: weight %d is out of range: -%d to %[3]d", registering(w.Type), w.Weight, maxWeight))
		}
	}
	return errors.Join(append(errs, checkJobs(a.workers)...)...)
}

// Run starts the App, waits until ctx ends or the process gets SIGINT or SIGTERM, and drains it, for [DrainTimeout] at
// most. It returns nil after a complete drain, and within 3 s after that time whatever handlers and servers do: also if ctx or a
// signal ends the start, which is no error then. A second signal
// ends the drain: the contexts of handlers are cancelled, and their tasks run again elsewhere, no attempt or crash charged. A
// third one kills the process as it would any other. While it runs SIGPIPE kills nothing: if the reader of the standard error is
// gone, log records are lost and the App keeps running. [App.Start] and [App.Shutdown] touch no signals.
func (a *App) Run(ctx context.Context) error {
	if err := refuseNil(ctx, "Run"); err != nil {
		return err
	}
	return a.process.run(ctx)
}

func (p ownProcess) run(ctx context.Context) error {
	a := p.app
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	draining, hurry := context.WithCancelCause(context.WithoutCancel(ctx))
	defer hurry(nil)
	release := a.obeySignals(end, hurry)
	defer release()
	defer surviveBrokenPipes()()
	err := a.runUntilEnd(running)
	draining, cancel := context.WithTimeout(draining, a.settings.drain)
	defer cancel()
	return errors.Join(err, a.Shutdown(draining))
}

// runUntilEnd starts the App and waits until ctx ends, which the Start need not outlast: Shutdown ends it. An error is what
// keeps the App from starting.
func (a *App) runUntilEnd(ctx context.Context) error {
	s, err := a.begin(ctx)
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() { result <- a.finish(s) }()
	select {
	case err = <-result:
	case <-ctx.Done():
	}
	if err != nil && ctx.Err() == nil {
		return err
	}
	<-ctx.Done()
	a.log.Info("stopping", "reason", context.Cause(ctx))
	return nil
}

// Shutdown drains the App: it takes no more calls and tasks, lets those that run finish until ctx ends, cancels those
// that still run then (their tasks go on elsewhere, no attempt charged), and closes the backend. It returns nil after a
// complete drain. Otherwise its error says what was cancelled, and it returns at most 3 s after ctx has ended: what hangs then
// is left behind. While it waits it logs every 5 s for what. A Start that is under way is cancelled, and what it has begun is
// drained and closed. A second Shutdown waits for the first. It never touches signals.
func (a *App) Shutdown(ctx context.Context) error {
	if err := refuseNil(ctx, "Shutdown"); err != nil {
		return err
	}
	return a.process.shutdown(ctx)
}

func (p ownProcess) shutdown(ctx context.Context) error {
	a := p.app
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
	a.state.Store(stateStopping)
	close(a.draining)
	starting, errs := a.starting, a.late
	a.mu.Unlock()

	last, cancel := grace.Outlast(ctx, grace.Total)
	defer cancel()
	if !grace.Await(last, func() {
		a.closeErr = errors.Join(append(errs, a.shutdown(ctx, starting)...)...)
		close(a.closed)
	}) {
		return Errorf(ErrDeadlineExceeded, "the shutdown was not complete %v after its time was up: %w", grace.Total, context.Cause(ctx))
	}
	return a.closeErr
}

// shutdown ends a Start, drains, writes and closes, each within its time.
func (a *App) shutdown(ctx context.Context, starting *starting) (errs []error) {
	tasks := a.tasks
	if err := starting.end(ctx); err != nil {
		errs = append(errs, err)
		if tasks != nil { // only the Start that was left behind may touch what it makes
			tasks.tasks.Close()
			tasks = nil
		}
	}
	drained := make(chan struct{})
	if len(errs) == 0 {
		go a.reportDrain(ctx, drained)
	}
	if tasks != nil {
		tasks.quit()
	}
	a.receivers.quit()
	a.mu.Lock()
	servings := a.servings
	a.mu.Unlock()
	var raw, cut error // calls, tasks and messages drain side by side
	var wg sync.WaitGroup
	wg.Go(func() { raw = a.receivers.drain(ctx) })
	if tasks != nil {
		wg.Go(func() { cut = tasks.tasks.Drain(ctx) })
	}
	errs = append(errs, a.drain(ctx, servings)...)
	wg.Wait()
	errs = append(errs, raw, cut)
	if tasks != nil {
		errs = append(errs, tasks.stop(ctx))
	}
	close(drained)
	a.state.Store(stateClosed)
	// The backend gets a moment even where the drain has used up the time.
	closing, cancel := grace.Outlast(ctx, grace.Closed)
	defer cancel()
	closing, cancel = context.WithTimeout(closing, grace.Total)
	defer cancel()
	a.snowflakes.close(closing, a.log)
	errs = append(errs, grace.Close(closing, "the backend", func() error { return a.ports.Close(closing) }))
	a.log.Info("stopped")
	if a.closeLog != nil {
		errs = append(errs, grace.Close(closing, "the log", a.closeLog))
	}
	return errs
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
			grace, cancel := grace.Outlast(ctx, grace.Abandon)
			defer cancel()
			if err := s.Drain(grace); err != nil {
				a.log.Error("handlers ignore their context; abandoned", "error", err, "stacks", a.served[i].server.stuck())
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

// Native returns the backend's own handle, or nil if the backend has none. Only the backend's package can use it: a program
// that runs on servers gets its database by servers.Mongo(app).
func (a *App) Native() any { return a.ports.Native }

// Power returns the same as Native.
//
// Deprecated: use [App.Native].
func (a *App) Power() any { return a.Native() }

// awaitStart holds a request or the first claim back while Start is at work, so that a handler finds the services beside its
// own and may use the App. It returns false if nothing must be handled.
func (a *App) awaitStart(ctx context.Context) bool {
	select {
	case <-a.started: // before it began to drain
		return true
	default:
	}
	select {
	case <-a.started:
		return true
	case <-a.draining:
	case <-ctx.Done():
	}
	return false
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
