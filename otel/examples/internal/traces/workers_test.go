package traces

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/afgen/afgen/internal/testkit"
	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

const (
	spansFile   = "AF_TRACES_SPANS"  // the file to which child processes write their spans
	parent      = "AF_TRACES_PARENT" // the process id of the test
	systemOf    = "AF_TRACES_SYSTEM" // the system of a process that is killed
	otherSecret = "secret"           // part of every text that no span may have
)

var children = testkit.Children{"hangs": hang}

// The child processes of isolation=process run main again, and so this.
func TestMain(m *testing.M) {
	children.Run()
	if os.Getenv(parent) != "" {
		os.Exit(isolated())
	}
	err := errors.Join(os.Setenv(parent, fmt.Sprint(os.Getpid())), os.Setenv("GORACE", "atexit_sleep_ms=0"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

var (
	job   = af.Worker{Name: "job", Type: "Job", Max: 8, Backoff: time.Millisecond, Retries: 1, Payload: "new000000000"}
	photo = af.Worker{Name: "photo", Type: "Photo", Max: 2}
	child = af.Worker{Name: "child", Type: "Child", Max: 1, Isolation: "process"}
	idle  = af.Worker{Name: "idle", Type: "Idle", Max: 1} // no App has this worker
	get   = &af.Method[string, int]{Service: "orders", Name: "Get", Timeout: patience}
)

// timeout is that of tasks that exceed it. A handler that is slower to begin does not run.
const timeout = time.Second

type orders struct{}

// Get does what its argument says.
func (*orders) Get(ctx context.Context, do string) (int, error) {
	switch do {
	case "not_found":
		return 0, af.Errorf(af.ErrNotFound, otherSecret)
	case "fails":
		return 0, errors.New(otherSecret)
	case "panics":
		panic(otherSecret)
	case "waits":
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 1, nil
}

func serve(app *af.App) {
	af.RegisterService(app, af.Service{Name: "orders", Type: "Orders"}, &orders{},
		af.Bind(get, func(ctx context.Context, o *orders, do string) (int, error) { return o.Get(ctx, do) }))
}

// worker does what the payload of a task says.
type worker struct {
	app     *af.App
	started chan struct{} // a task that waits has begun
	release chan struct{} // a handler that ignores its context returns
}

func newWorker(app *af.App) *worker {
	return &worker{app, make(chan struct{}, 1), make(chan struct{})}
}

func (w *worker) Run(ctx context.Context, do string) (int, error) {
	t := af.TaskFrom(ctx)
	switch do {
	case "fans_out":
		_, err := get.Call(ctx, af.NewClient(w.app), "")
		if err == nil {
			_, err = af.NewVoidQueue[int](w.app, photo).Subtasks(ctx, t.ID, []int{1})
		}
		return 0, err
	case "done_panics":
		_, err := af.NewVoidQueue[int](w.app, photo).Subtasks(ctx, t.ID, []int{1})
		return 0, err
	case "retries":
		if t.Attempt == 1 {
			return 0, errors.New(otherSecret)
		}
	case "fails":
		return 0, errors.New(otherSecret)
	case "snoozes":
		if t.Fence == 1 {
			return 0, af.Snooze(0)
		}
	case "permanent":
		return 0, af.Permanent(af.ErrNotFound)
	case "panics":
		panic(otherSecret)
	case "dies":
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			return 0, err
		}
		<-ctx.Done()
	case "waits":
		w.started <- struct{}{}
		<-ctx.Done()
		return 0, ctx.Err()
	case "waits_once":
		if t.Fence == 1 {
			w.started <- struct{}{}
			<-ctx.Done()
			return 0, ctx.Err()
		}
	case "ignores":
		<-ctx.Done()
		w.started <- struct{}{}
		<-w.release
	}
	return 1, nil
}

// began waits until a task that waits has begun.
func (w *worker) began(t *testing.T) {
	t.Helper()
	select {
	case <-w.started:
	case <-time.After(patience):
		t.Fatal("no handler has begun")
	}
}

// SubtasksDone implements fan-in.
func (w *worker) SubtasksDone(_ context.Context, do string, _ af.Subtasks) error {
	if do == "done_panics" {
		panic(otherSecret)
	}
	return nil
}

type photos struct{}

func (*photos) Run(context.Context, int) error { return nil }

// file is an exporter that appends spans to a file.
type file struct{ path string }

func (f file) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	out, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	for _, s := range spans {
		if err := json.NewEncoder(out).Encode(toSpan(s)); err != nil {
			return err
		}
	}
	return nil
}

func (file) Shutdown(context.Context) error { return nil }

// isolated is main in a child process, which contacts no store and no server itself. The batches of its provider are
// written only if they are flushed.
func isolated() int {
	ctx := context.Background()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(file{os.Getenv(spansFile)}))
	observed, err := afotel.New(afotel.TracerProvider(tracers), afotel.Propagator(propagation.TraceContext{}))
	if err == nil {
		var app *af.App
		if app, err = af.Open(ctx, memory.New(), af.Instrument(observed)); err == nil {
			af.RegisterWorker(app, child, newWorker(app))
			err = app.Run(ctx)
		}
	}
	fmt.Fprintln(os.Stderr, "main of the child:", err)
	return 1
}

// hang is main of a process whose task does not end. Its spans die with it.
func hang() int {
	var s system
	err := json.Unmarshal([]byte(os.Getenv(systemOf)), &s)
	if err == nil {
		err = s.hang()
	}
	fmt.Fprintln(os.Stderr, "main of the process:", err)
	return 1
}

func (s system) hang() error {
	b, err := s.backend()
	if err != nil {
		return err
	}
	app, err := af.Open(context.Background(), b, quiet(), af.Lease(3*time.Second))
	if err != nil {
		return err
	}
	w, killed := newWorker(app), job
	killed.Name = "killed"
	af.RegisterWorker(app, killed, w)
	go func() {
		<-w.started
		fmt.Println("running")
	}()
	return app.Run(context.Background())
}
