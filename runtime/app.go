package runtime

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/calls"
	"github.com/afgen/afgen/runtime/internal/drain"
	"github.com/afgen/afgen/runtime/internal/grace"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/hooks"
	"github.com/afgen/afgen/runtime/internal/ids"
	"github.com/afgen/afgen/runtime/internal/interrupt"
	"github.com/afgen/afgen/runtime/internal/lifecycle"
	"github.com/afgen/afgen/runtime/internal/once"
	"github.com/afgen/afgen/runtime/internal/pipe"
	"github.com/afgen/afgen/runtime/internal/receive"
	"github.com/afgen/afgen/runtime/internal/registration"
	"github.com/afgen/afgen/runtime/internal/serve"
	"github.com/afgen/afgen/runtime/internal/submit"
	"github.com/afgen/afgen/runtime/internal/tasks"
	"github.com/afgen/afgen/runtime/internal/timing"
)

// A Backend connects an [App] to other processes and stores its tasks. The packages below runtime/backend each create
// one: memory (one process), embedded (one machine), servers (RabbitMQ, MongoDB and Redis) and auto (as configured).
// Its methods:
//
//	Open(ctx context.Context, env backend.Env) (*backend.Ports, error) // called by Open
type Backend = backend.Backend

// An App is one running instance of a program. Generated code uses it as a [Caller], [Registrar] and [TaskClient]. Its
// methods are safe for concurrent use. The code that opened it must call Run or Shutdown.
type App struct {
	settings  settings
	log       *slog.Logger
	closeLog  func() error // nil if the App does not own its log
	instance  Instance
	ports     *backend.Ports
	caller    Caller     // the chain of middleware, ending in a.invoke
	submitter Submitter  // the chain of middleware, ending in a.submit
	hooks     *hooks.Set // of the instruments; nil if there are none
	inFlight  *calls.Limit
	sender    calls.Sender
	called    atomic.Uint64
	warned    once.Set // warnings that have been logged, so that each is logged once
	core      *core    // nil if the backend doesn't support tasks
	process   process

	servings   serve.Set
	receivers  receive.Set
	snowflakes *ids.Snowflakes

	life *lifecycle.Lifecycle // also guards services and workers, which don't change once it isn't open

	mu       sync.Mutex
	services []ServiceSpec
	workers  []WorkerSpec
	late     []error // of registrations after Start
}

var (
	_ Caller     = (*App)(nil)
	_ Registrar  = (*App)(nil)
	_ TaskClient = (*App)(nil)
)

// Open opens an App on a backend. If the backend was made from a configuration, as by package auto or servers, the
// configuration's sections tasks, workers and logger apply, and opts take precedence. ctx limits the time for opening,
// including connecting. It has no effect after Open has returned.
func Open(ctx context.Context, b Backend, opts ...AppOption) (*App, error) {
	if err := checkContext(ctx, "Open"); err != nil {
		return nil, err
	}
	if b == nil {
		return nil, NewError(ErrInvalidArgument, "Open: the backend is nil")
	}
	s := defaults()
	if c, ok := b.(backend.Configured); ok {
		s.configure(c.Settings())
	}
	configured := s.withoutOptions()
	for _, o := range opts {
		if o != nil {
			o(&s)
		}
	}
	if err := s.checkObserver(configured); err != nil {
		return nil, err
	}
	if err := heartbeat.CheckLease(s.lease); err != nil {
		return nil, err
	}
	if err := s.checkWorkers(); err != nil {
		return nil, err
	}
	a := &App{
		settings: s, log: slog.Default(), instance: newInstance(s), snowflakes: ids.NewSnowflakes(),
		life: lifecycle.New(),
	}
	a.inFlight, a.hooks = calls.NewLimit(s.maxCalls, s.maxPending), hooks.New(s.instruments)
	a.process = ownProcess{a}
	a.caller = CallerFunc(a.invoke)
	for i := len(s.client) - 1; i >= 0; i-- {
		if a.caller = s.client[i](a.caller); a.caller == nil {
			return nil, NewError(ErrInvalidArgument, "Open: a client middleware returned nil")
		}
	}
	a.submitter = SubmitterFunc(a.submit)
	for i := len(s.submit) - 1; i >= 0; i-- {
		if a.submitter = s.submit[i](a.submitter); a.submitter == nil {
			return nil, NewError(ErrInvalidArgument, "Open: a submit middleware returned nil")
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
	a.hooks.Own(a.instance.ID, a.log)
	ports, err := b.Open(ctx, backend.Env{Instance: a.instance, Observer: s.observer, Logger: a.log})
	if err != nil {
		err = fmt.Errorf("opening the backend: %w", backend.AsError(err))
		if a.closeLog != nil {
			err = errors.Join(err, a.closeLog())
		}
		return nil, err
	}
	a.ports, a.sender = timing.Ports(ports, a.hooks), a.newSender(ports)
	if ports.Store != nil {
		a.core = newCore(a)
	}
	return a, nil
}

// AddService implements [Registrar]. Generated RegisterX functions call it.
func (a *App) AddService(s ServiceSpec) {
	a.add(s.Package, s.Type, func() { a.services = append(a.services, s) })
}

// AddWorker implements [Registrar]. Generated RegisterX functions call it.
func (a *App) AddWorker(w WorkerSpec) {
	for _, layer := range a.settings.workers[w.Name] {
		w.override(layer)
	}
	a.add(w.Package, w.Type, func() { a.workers = append(a.workers, w) })
}

// add records a registration. Since it can't return an error, it logs a registration after Start, and Shutdown returns
// the error.
func (a *App) add(pkg, typ string, register func()) {
	if a.life.Register(register) {
		return
	}
	err := Errorf(ErrFailedPrecondition, "%s: the app has been started; register before Start",
		registration.Func(pkg, typ))
	a.mu.Lock()
	a.late = append(a.late, err)
	a.mu.Unlock()
	a.log.Error("registered after Start, not served", "type", registration.Type(pkg, typ))
}

// checkRegistrations returns all errors in the registrations.
func (a *App) checkRegistrations() error {
	if err := a.checkObserved(); err != nil {
		return err
	}
	var c registration.Check
	for _, s := range a.services {
		c.Add("service", "service", s.Name, s.Package, s.Type, s.Err)
	}
	for _, w := range a.workers {
		c.Add("worker", "queue", w.Name, w.Package, w.Type, w.Err)
		switch w.Isolation {
		case "", "goroutine", "process":
		default:
			c.Errs = append(c.Errs, Errorf(ErrInvalidArgument, "%s: unknown isolation %q", registration.Func(w.Package, w.Type),
				w.Isolation))
		}
		if w.Weight < -submit.MaxWeight || w.Weight > submit.MaxWeight {
			c.Errs = append(c.Errs, Errorf(ErrInvalidArgument, "%s: weight %d out of range [-%d, %[3]d]",
				registration.Func(w.Package, w.Type), w.Weight, submit.MaxWeight))
		}
	}
	return errors.Join(append(c.Errs, checkJobs(a.workers)...)...)
}

// Run starts the App, waits until ctx ends or the process receives SIGINT or SIGTERM, and then drains it for at most
// [DrainTimeout]. It returns nil after a complete drain, also if ctx or a signal ended the start. It returns at most 3
// s after DrainTimeout, even if handlers or servers hang.
//
// A second signal ends the drain: the contexts of handlers are cancelled, and their tasks run again on another instance
// without being charged an attempt or a crash. A third signal kills the process.
//
// While Run runs, SIGPIPE does not kill the process: if the reader of its standard error is gone, log records are lost
// and the App keeps running. [App.Start] and [App.Shutdown] do not handle signals.
func (a *App) Run(ctx context.Context) error {
	if err := checkContext(ctx, "Run"); err != nil {
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
	release := interrupt.Handler{Log: a.log, Draining: a.life.IsDraining, Drain: end, Hurry: hurry}.Handle()
	defer release()
	defer interrupt.SurviveBrokenPipes()()
	err := a.runUntilEnd(running)
	draining, cancel := context.WithTimeout(draining, a.settings.drain)
	defer cancel()
	return errors.Join(err, a.Shutdown(draining))
}

// runUntilEnd starts the App and waits until ctx ends. If ctx ends during the start, it returns and Shutdown ends the
// start. It returns an error if the App can't start.
func (a *App) runUntilEnd(ctx context.Context) error {
	s, err := a.life.Begin(ctx, a.checkRegistrations)
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

// Shutdown drains the App and closes the backend. The App accepts no more calls and tasks. Running handlers may finish
// until ctx ends. Then their contexts are cancelled, and their tasks run again on another instance without being
// charged an attempt.
//
// It returns nil after a complete drain. Otherwise its error names what was cancelled. It returns at most 3 s after ctx
// has ended, even if handlers or servers hang. While it waits, it logs every 5 s what it waits for. If Start is
// running, Shutdown cancels it, and drains and closes what it has started. A second call of Shutdown waits for the
// first and returns its error. Shutdown does not handle signals.
func (a *App) Shutdown(ctx context.Context) error {
	if err := checkContext(ctx, "Shutdown"); err != nil {
		return err
	}
	return a.process.shutdown(ctx)
}

func (p ownProcess) shutdown(ctx context.Context) error {
	a := p.app
	return a.life.Shutdown(ctx, func(s *lifecycle.Start) error {
		errs := a.shutdown(ctx, s)
		a.mu.Lock()
		defer a.mu.Unlock()
		return errors.Join(append(slices.Clone(a.late), errs...)...)
	})
}

// shutdown cancels a running Start, drains, writes results and closes the backend, each within its time limit.
func (a *App) shutdown(ctx context.Context, starting *lifecycle.Start) (errs []error) {
	c := a.core
	if err := starting.Cancel(ctx); err != nil {
		errs = append(errs, err)
		if c != nil { // Start is still running and owns what it has created
			c.tasks.Close()
			c = nil
		}
	}
	drained := make(chan struct{})
	if len(errs) == 0 {
		go drain.Report(ctx, a.log, drained, a.unfinished)
	}
	if c != nil {
		c.quit()
	}
	a.receivers.Quit()
	var raw, cut error // calls, tasks and messages drain concurrently
	var wg sync.WaitGroup
	wg.Go(func() { raw = a.receivers.Drain(ctx, tasks.ErrShutdown) })
	if c != nil {
		wg.Go(func() { cut = c.tasks.Drain(ctx) })
	}
	errs = append(errs, a.servings.Drain(ctx, a.log)...)
	wg.Wait()
	errs = append(errs, raw, cut)
	if c != nil {
		errs = append(errs, c.stop(ctx))
	}
	close(drained)
	a.life.Close()
	// The backend gets some time even if the drain has used up ctx's.
	a.hooks.Close()
	closing, cancel := grace.Outlast(ctx, grace.Closed)
	defer cancel()
	closing, cancel = context.WithTimeout(closing, grace.Total)
	defer cancel()
	a.snowflakes.Close(closing, a.log)
	errs = append(errs, grace.Close(closing, "the backend", func() error { return a.ports.Close(closing) }))
	a.log.Info("stopped")
	if a.closeLog != nil {
		errs = append(errs, grace.Close(closing, "the log", a.closeLog))
	}
	return errs
}

// Instance returns the Instance that other processes see of this App.
func (a *App) Instance() Instance { return a.instance }

// NewID returns a unique random id of 26 letters and digits. It does no I/O. [App.Snowflake] returns ids that sort by
// time.
func (a *App) NewID() string { return rand.Text() }

// Native returns the backend's own handle, or nil if the backend has none. Only the backend's package can use it: a
// program on package servers gets its database by servers.Mongo(app).
func (a *App) Native() any { return a.ports.Native }

// Power is the old name of [App.Native].
//
// Deprecated: use [App.Native].
func (a *App) Power() any { return a.Native() }

// admit returns an error if the App is not in a state in which it can make calls.
func (a *App) admit() *Error { return a.life.Admit() }
