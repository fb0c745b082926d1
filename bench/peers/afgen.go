package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
	embeddedbackend "github.com/afgen/afgen/runtime/backend/embedded"
	memorybackend "github.com/afgen/afgen/runtime/backend/memory"
	serversbackend "github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

// oneMemory is the storage of this process.
var oneMemory = sync.OnceValue(func() af.Backend { return memorybackend.New() })

// backend returns the backend of afgen that is called system.
func (s site) backend(system string) (af.Backend, error) {
	switch system {
	case memory:
		return oneMemory(), nil
	case embedded:
		return embeddedbackend.File(filepath.Join(s.Dir, "af.db")), nil
	}
	cfg, err := config.Parse("config.yaml", fmt.Appendf(nil,
		"mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", s.Mongo, s.Redis, s.AMQP), nil)
	return serversbackend.From(cfg), err
}

// openApp opens an App with the options of all measurements: more concurrent calls than the default of 256, and tasks
// are kept.
func (s site) openApp(ctx context.Context, system string) (*af.App, error) {
	b, err := s.backend(system)
	if err != nil {
		return nil, err
	}
	return af.Open(ctx, b, af.Logger(slog.New(slog.DiscardHandler)), af.MaxInFlight(1024, 64<<20), af.Retention(0, 0))
}

// startApp opens and starts an App. register may be nil.
func (s site) startApp(ctx context.Context, system string, register func(*af.App)) (*af.App, error) {
	app, err := s.openApp(ctx, system)
	if err != nil {
		return nil, err
	}
	if register != nil {
		register(app)
	}
	if err := app.Start(ctx); err != nil {
		return nil, errors.Join(err, app.Shutdown(ctx))
	}
	return app, nil
}

// workerOf returns the description that the generator would emit for a worker.
func workerOf(slots int) af.Worker {
	return af.Worker{Name: "noop", Type: "Noop", Max: slots, Backoff: time.Second, Weight: 1}
}

// A noop is a worker whose handler does nothing but call started.
type noop struct{ started func() }

// Run implements the worker.
func (w *noop) Run(context.Context, payload) error {
	w.started()
	return nil
}

// An afgenQueue is a queue of afgen: one App submits, another one works.
type afgenQueue struct {
	w         *world
	submitter *af.App
	working   *af.App // nil without a worker
	tasks     af.VoidQueue[payload]
	many      []payload
}

func openAfgen(ctx context.Context, w *world) (queue, error) { return newAfgenQueue(ctx, w) }

func newAfgenQueue(ctx context.Context, w *world) (*afgenQueue, error) {
	app, err := w.startApp(ctx, w.system, nil)
	if err != nil {
		return nil, err
	}
	many := make([]payload, bulk)
	for i := range many {
		many[i] = message
	}
	return &afgenQueue{w: w, submitter: app, tasks: af.NewVoidQueue[payload](app, workerOf(1)), many: many}, nil
}

func (q *afgenQueue) submit(ctx context.Context) error {
	_, err := q.tasks.Submit(ctx, message)
	return err
}

func (q *afgenQueue) submitMany(ctx context.Context, n int) error {
	_, err := q.tasks.SubmitMany(ctx, q.many[:n])
	return err
}

func (q *afgenQueue) worker(
	ctx context.Context, slots int, started func(),
) (start func(context.Context) error, err error) {
	if q.working, err = q.w.openApp(ctx, q.w.system); err != nil {
		return nil, err
	}
	af.RegisterVoidWorker(q.working, workerOf(slots), &noop{started})
	return q.working.Start, nil
}

func (q *afgenQueue) settled(ctx context.Context) (bool, error) {
	page, err := q.submitter.Tasks(ctx, af.TaskQuery{
		Queue: workerOf(1).Name, Statuses: []af.Status{af.StatusRunning}, Limit: 1,
	})
	return len(page.Tasks) == 0, err
}

func (q *afgenQueue) close(ctx context.Context) error {
	err := q.submitter.Shutdown(ctx)
	if q.working != nil {
		err = errors.Join(err, q.working.Shutdown(ctx))
	}
	return err
}

// echoMethod is the method of the service that calls are measured with.
var echoMethod = &af.Method[payload, payload]{Service: "echo", Name: "Echo", Timeout: 30 * time.Second}

// An echo is a service that returns its arguments.
type echo struct{}

// An afgenTransport makes calls from one App to another.
type afgenTransport struct{ system string }

func (t afgenTransport) serve(ctx context.Context, s site) (stop, error) {
	app, err := s.startApp(ctx, t.system, func(app *af.App) {
		af.RegisterService(app, af.Service{Name: "echo", Type: "Echo", Concurrency: 1024}, &echo{},
			af.Bind(echoMethod, func(_ context.Context, _ *echo, args payload) (payload, error) { return args, nil }))
	})
	if err != nil {
		return nil, err
	}
	return app.Shutdown, nil
}

func (t afgenTransport) dial(ctx context.Context, s site) (call, stop, error) {
	app, err := s.startApp(ctx, t.system, nil)
	if err != nil {
		return nil, nil, err
	}
	client := af.NewClient(app)
	return func(ctx context.Context) error {
		reply, err := echoMethod.Call(ctx, client, message)
		return checkEcho(reply, err)
	}, app.Shutdown, nil
}
