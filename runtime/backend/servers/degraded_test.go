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

// A record is a log that tests read.
type record struct {
	mu    sync.Mutex
	lines []string
}

func (r *record) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (r *record) WithAttrs([]slog.Attr) slog.Handler           { return r }
func (r *record) WithGroup(string) slog.Handler                { return r }
func (r *record) Handle(_ context.Context, line slog.Record) error {
	text := fmt.Sprint(line.Level, " ", line.Message)
	line.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, text)
	return nil
}

// take returns what was logged since the last time.
func (r *record) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

// outages are three servers of a test's own, and an App over them.
type outages struct {
	*testing.T
	servers map[string]*devstack.Server // by mode
	app     *af.App
	log     *record
	queue   af.Queue[int, int]
	begun   chan struct{} // a handler of holdWorker has
	release chan struct{} // ends it
}

func modes() []string { return []string{"without-rabbitmq", "without-mongodb", "without-redis"} }

// holdWorker waits to be released where its payload is 0.
var holdWorker = af.Worker{Name: "hold", Type: "Hold", Max: 4, Retries: 0, Backoff: 10 * time.Millisecond}

type hold struct{ o *outages }

func (w *hold) Run(ctx context.Context, n int) (int, error) {
	if n == 0 {
		w.o.begun <- struct{}{}
		select {
		case <-w.o.release:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return 2 * n, nil
}

// during waits until the App is in exactly these modes and says what was logged until then.
func (o *outages) during(want ...string) []string {
	o.Helper()
	var h af.Health
	testkit.Succeeds(o, "its health", func() error {
		if h = o.app.Health(); !slices.Equal(h.Degraded, want) {
			return fmt.Errorf("in the modes %v, want %v: %+v", h.Degraded, want, h.Conditions)
		}
		return nil
	})
	return o.log.take()
}

// logs fails where something else was logged than lines with these words, one each.
func (o *outages) logs(lines []string, want ...string) {
	o.Helper()
	ok := len(lines) == len(want)
	for _, w := range want {
		ok = ok && len(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.Contains(l, w) })) == 1
	}
	if !ok {
		o.Errorf("want one line with each of %q, got\n%s", want, strings.Join(lines, "\n"))
	}
}

// atOnce does something that must be unavailable, and soon.
func (o *outages) atOnce(what string, do func(context.Context) error) {
	o.Helper()
	begun := time.Now()
	err := do(o.Context())
	took := time.Since(begun)
	if e, ok := errors.AsType[*af.Error](err); !ok || e.Code != af.ErrUnavailable || e.Outcome != af.OutcomeNotSent {
		o.Errorf("%s: %v", what, err)
	}
	if took > atOnceMost {
		o.Errorf("%s: unavailable after %v", what, took)
	}
}

// atOnceMost is ten times what it takes on a quiet machine, and a tenth of any time-out.
const atOnceMost = 100 * time.Millisecond

func (o *outages) call(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := addMethod.Call(ctx, af.NewClient(o.app), args{1, 2})
	if err == nil && r.Sum != 3 {
		return fmt.Errorf("the sum is %d", r.Sum)
	}
	return err
}

func (o *outages) submit(ctx context.Context) error { _, err := o.queue.Submit(ctx, 1); return err }

func (o *outages) submitWithWorker(ctx context.Context) error {
	_, err := o.queue.Submit(ctx, 1, af.RequireWorker())
	return err
}

// works makes a call, and submits a task and waits for it.
func (o *outages) works(what string, do ...func(context.Context) error) {
	o.Helper()
	for _, do := range do {
		// The broker is back a moment before the service's queue is.
		testkit.Succeeds(o, what, func() error { return do(o.Context()) })
	}
}

func (o *outages) task(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	id, err := o.queue.Submit(ctx, 7)
	if err != nil {
		return err
	}
	n, err := o.queue.Wait(ctx, id)
	if err == nil && n != 14 {
		return fmt.Errorf("the result is %d", n)
	}
	return err
}

func (o *outages) ready(want string) {
	o.Helper()
	err := o.app.Ready()
	if want == "" && err != nil || want != "" && (!errors.Is(err, af.ErrUnavailable) || !strings.Contains(err.Error(), want)) {
		o.Errorf("ready: %v, want %q", err, want)
	}
}

func (o *outages) must(err error) {

	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

// Everything goes on without a restart, whichever server is away at the start or later; what needs it fails at once; and
// the log has one line when a mode is entered and one when it is left.
func TestAppGoesOnWithoutItsServersAndWithThemAgain(t *testing.T) {
	o := &outages{
		T: t, log: &record{}, begun: make(chan struct{}, 1), release: make(chan struct{}), servers: map[string]*devstack.Server{
			"without-rabbitmq": devstack.Prepare(t, devstack.RabbitMQ), "without-mongodb": devstack.Prepare(t, devstack.MongoDB),
			"without-redis": devstack.Prepare(t, devstack.RedisKV),
		},
	}
	t.Cleanup(func() {
		for _, s := range o.servers {
			o.must(s.Kill()) // faster than stopping it
		}
	})
	rabbit, mongo, redis := o.servers["without-rabbitmq"], o.servers["without-mongodb"], o.servers["without-redis"]
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", mongo.URI+"degraded", redis.URI, rabbit.URI))
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
	o.logs(o.log.take(), "WARN degraded: without-rabbitmq", "WARN degraded: without-mongodb", "WARN degraded: without-redis")
	o.must(app.Start(t.Context()))
	all := append(modes(), "not-claiming")
	o.logs(o.during(all...), "INFO started")

	// All three are away.
	o.ready("without-rabbitmq: ")
	o.ready("without-mongodb: ")
	o.atOnce("a call", o.call)
	o.atOnce("a submit", o.submit)
	o.atOnce("a submit that requires a worker", o.submitWithWorker)

	// They come, one by one.
	o.must(redis.Start())
	o.logs(o.during("without-rabbitmq", "without-mongodb", "not-claiming"), "INFO no longer degraded: without-redis")
	o.must(mongo.Start())
	o.logs(o.during("without-rabbitmq"), "INFO no longer degraded: without-mongodb")
	o.ready("")
	o.atOnce("a call", o.call)
	o.works("without RabbitMQ", o.task)
	o.must(rabbit.Start())
	o.logs(o.during(), "INFO no longer degraded: without-rabbitmq")
	o.ready("")
	o.works("with all", o.call, o.task, o.submitWithWorker)

	// They go and come back.
	o.must(redis.Stop())
	o.logs(o.during("without-redis"), "WARN degraded: without-redis")
	o.ready("")
	o.atOnce("a submit that requires a worker", o.submitWithWorker)
	o.works("without Redis", o.call, o.task)
	o.must(redis.Start())
	o.logs(o.during(), "INFO no longer degraded: without-redis")
	o.works("with Redis again", o.submitWithWorker)

	id, err := o.queue.Submit(t.Context(), 0)
	o.must(err)
	<-o.begun
	o.must(mongo.Kill())
	o.logs(o.during("without-mongodb"), "WARN degraded: without-mongodb")
	o.ready("")
	o.atOnce("a submit", o.submit)
	o.works("without MongoDB", o.call)
	close(o.release) // what came of the task is kept
	o.must(mongo.Start())
	o.logs(o.during(), "INFO no longer degraded: without-mongodb")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if n, err := o.queue.Wait(ctx, id); n != 0 || err != nil {
		t.Errorf("what ran while MongoDB was away: %d, %v", n, err)
	}
	if task, err := o.queue.Get(ctx, id); err != nil || task.Fence != 1 {
		t.Errorf("it ran again: %+v, %v", task, err)
	}
	o.works("with MongoDB again", o.task)

	o.must(rabbit.Kill())
	o.logs(o.during("without-rabbitmq"), "WARN degraded: without-rabbitmq")
	o.atOnce("a call", o.call)
	o.works("without RabbitMQ", o.task)
	if lines := o.log.take(); len(lines) > 0 {
		t.Errorf("the log goes on:\n%s", strings.Join(lines, "\n"))
	}
}
