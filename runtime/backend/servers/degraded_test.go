package servers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

// A logRecorder is a handler that keeps log lines.
type logRecorder struct {
	mu    sync.Mutex
	lines []string
}

func (l *logRecorder) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}
func (l *logRecorder) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logRecorder) WithGroup(string) slog.Handler      { return l }
func (l *logRecorder) Handle(_ context.Context, line slog.Record) error {
	text := fmt.Sprint(line.Level, " ", line.Message)
	line.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, text)
	return nil
}

// take returns the lines logged since the last call.
func (l *logRecorder) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// A fixture is an App on three servers that the test owns.
type fixture struct {
	*testing.T
	servers map[string]*devstack.Server // by mode
	app     *af.App
	log     *logRecorder
	queue   af.Queue[int, int]
	started chan struct{} // receives when a handler of holdWorker has started
	release chan struct{} // ends it
}

func modes() []string { return []string{"without-rabbitmq", "without-mongodb", "without-redis"} }

// holdWorker waits for release if its payload is 0.
var holdWorker = af.Worker{Name: "hold", Type: "Hold", Max: 4, Retries: 0, Backoff: 10 * time.Millisecond}

type hold struct{ o *fixture }

func (w *hold) Run(ctx context.Context, n int) (int, error) {
	if n == 0 {
		w.o.started <- struct{}{}
		select {
		case <-w.o.release:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return 2 * n, nil
}

// awaitModes waits until the App is in exactly these modes, and returns what was logged until then.
func (f *fixture) awaitModes(want ...string) []string {
	f.Helper()
	var h af.Health
	testkit.Succeeds(f, "its health", func() error {
		if h = f.app.Health(); !slices.Equal(h.Degraded, want) {
			return fmt.Errorf("in the modes %v, want %v: %+v", h.Degraded, want, h.Conditions)
		}
		return nil
	})
	return f.log.take()
}

// wantLog checks that lines has one line containing each of want, and no others.
func (f *fixture) wantLog(lines []string, want ...string) {
	f.Helper()
	ok := len(lines) == len(want)
	for _, w := range want {
		ok = ok && len(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.Contains(l, w) })) == 1
	}
	if !ok {
		f.Errorf("want one line with each of %q, got\n%s", want, strings.Join(lines, "\n"))
	}
}

// failsAtOnce checks that an operation fails at once as unavailable.
func (f *fixture) failsAtOnce(what string, do func(context.Context) error) {
	f.Helper()
	begun := time.Now()
	err := do(f.Context())
	took := time.Since(begun)
	if e, ok := errors.AsType[*af.Error](err); !ok || e.Code != af.ErrUnavailable || e.Outcome != af.OutcomeNotSent {
		f.Errorf("%s: %v", what, err)
	}
	if took > atOnceLimit {
		f.Errorf("%s: unavailable after %v", what, took)
	}
}

// atOnceLimit is ten times the usual duration on an idle machine, and a tenth of any timeout.
const atOnceLimit = 100 * time.Millisecond

func (f *fixture) call(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := addMethod.Call(ctx, af.NewClient(f.app), args{1, 2})
	if err == nil && r.Sum != 3 {
		return fmt.Errorf("the sum is %d", r.Sum)
	}
	return err
}

func (f *fixture) submit(ctx context.Context) error { _, err := f.queue.Submit(ctx, 1); return err }

func (f *fixture) submitWithWorker(ctx context.Context) error {
	_, err := f.queue.Submit(ctx, 1, af.RequireWorker())
	return err
}

// works checks that operations succeed.
func (f *fixture) works(what string, do ...func(context.Context) error) {
	f.Helper()
	for _, do := range do {
		// The broker is back slightly before the service's queue.
		testkit.Succeeds(f, what, func() error { return do(f.Context()) })
	}
}

func (f *fixture) task(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	id, err := f.queue.Submit(ctx, 7)
	if err != nil {
		return err
	}
	n, err := f.queue.Wait(ctx, id)
	if err == nil && n != 14 {
		return fmt.Errorf("the result is %d", n)
	}
	return err
}

func (f *fixture) ready(want string) {
	f.Helper()
	err := f.app.Ready()
	if want == "" && err != nil || want != "" &&
		(!errors.Is(err, af.ErrUnavailable) || !strings.Contains(err.Error(), want)) {
		f.Errorf("ready: %v, want %q", err, want)
	}
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// No outage of a server, at the start or later, requires a restart. Operations that need the server fail at once. The
// log has one line when a mode is entered and one when it ends.
func TestAppSurvivesOutages(t *testing.T) {
	o := &fixture{
		T: t, log: &logRecorder{}, started: make(chan struct{},
			1), release: make(chan struct{}), servers: map[string]*devstack.Server{
			"without-rabbitmq": devstack.Prepare(t, devstack.RabbitMQ), "without-mongodb": devstack.Prepare(t, devstack.MongoDB),
			"without-redis": devstack.Prepare(t, devstack.RedisKV),
		},
	}
	t.Cleanup(func() {
		for _, s := range o.servers {
			o.must(s.Kill()) // faster than Stop
		}
	})
	rabbit, mongo, redis := o.servers["without-rabbitmq"], o.servers["without-mongodb"], o.servers["without-redis"]
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", mongo.URI+"degraded",
		redis.URI, rabbit.URI))
	app, err := af.Open(t.Context(), servers.From(cfg, servers.StartDegraded()), af.Logger(slog.New(o.log)))
	o.must(err)
	o.app, o.queue = app, af.NewQueue[int, int](app, holdWorker)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := app.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	af.RegisterService(app, af.Service{Name: "adder", Type: "Adder", Concurrency: 4}, &adder{},
		af.Bind(&addMethod, func(_ context.Context, _ *adder, a args) (sum, error) { return sum{a.X + a.Y}, nil }))
	af.RegisterWorker(app, holdWorker, &hold{o})
	o.wantLog(o.log.take(), "WARN degraded: without-rabbitmq", "WARN degraded: without-mongodb",
		"WARN degraded: without-redis")
	o.must(app.Start(t.Context()))
	all := append(modes(), "not-claiming")
	o.wantLog(o.awaitModes(all...), "INFO started")

	// All servers are down.
	o.ready("without-rabbitmq: ")
	o.ready("without-mongodb: ")
	o.failsAtOnce("a call", o.call)
	o.failsAtOnce("a submit", o.submit)
	o.failsAtOnce("a submit that requires a worker", o.submitWithWorker)

	// They start one by one.
	o.must(redis.Start())
	o.wantLog(o.awaitModes("without-rabbitmq", "without-mongodb", "not-claiming"),
		"INFO no longer degraded: without-redis")
	o.must(mongo.Start())
	o.wantLog(o.awaitModes("without-rabbitmq"), "INFO no longer degraded: without-mongodb")
	o.ready("")
	o.failsAtOnce("a call", o.call)
	o.works("without RabbitMQ", o.task)
	o.must(rabbit.Start())
	o.wantLog(o.awaitModes(), "INFO no longer degraded: without-rabbitmq")
	o.ready("")
	o.works("with all", o.call, o.task, o.submitWithWorker)

	// They stop and start again.
	o.must(redis.Stop())
	o.wantLog(o.awaitModes("without-redis"), "WARN degraded: without-redis")
	o.ready("")
	o.failsAtOnce("a submit that requires a worker", o.submitWithWorker)
	o.works("without Redis", o.call, o.task)
	o.must(redis.Start())
	o.wantLog(o.awaitModes(), "INFO no longer degraded: without-redis")
	o.works("with Redis again", o.submitWithWorker)

	id, err := o.queue.Submit(t.Context(), 0)
	o.must(err)
	<-o.started
	o.must(mongo.Kill())
	o.wantLog(o.awaitModes("without-mongodb"), "WARN degraded: without-mongodb")
	o.ready("")
	o.failsAtOnce("a submit", o.submit)
	o.works("without MongoDB", o.call)
	close(o.release) // the result is kept
	o.must(mongo.Start())
	o.wantLog(o.awaitModes(), "INFO no longer degraded: without-mongodb")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if n, err := o.queue.Wait(ctx, id); n != 0 || err != nil {
		t.Errorf("the task that ran while MongoDB was down: %d, %v", n, err)
	}
	if task, err := o.queue.Get(ctx, id); err != nil || task.Fence != 1 {
		t.Errorf("it ran again: %+v, %v", task, err)
	}
	o.works("with MongoDB again", o.task)

	o.must(rabbit.Kill())
	o.wantLog(o.awaitModes("without-rabbitmq"), "WARN degraded: without-rabbitmq")
	o.failsAtOnce("a call", o.call)
	o.works("without RabbitMQ", o.task)
	if lines := o.log.take(); len(lines) > 0 {
		t.Errorf("unexpected log lines:\n%s", strings.Join(lines, "\n"))
	}
}
