package afotel_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// The environment of other processes of the test: the file to which spans are written, and that of the backend.
const (
	spansFile = "AFOTEL_TEST_SPANS"
	storeFile = "AFOTEL_TEST_STORE"
)

// The child processes of isolation=process run main again, and so this.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(storeFile) != "":
		os.Exit(work())
	case os.Getenv(spansFile) != "" && os.Getenv("AFOTEL_TEST_PARENT") != fmt.Sprint(os.Getpid()):
		os.Exit(isolated())
	}
	os.Exit(m.Run())
}

var (
	render = af.Worker{Name: "render", Type: "Render", Max: 1, Isolation: "process"}
	notes  = af.Worker{Name: "notes", Type: "Notes", Max: 1}
)

// renderer makes a call and submits a task, in a child process. With the payload dies the process is killed.
type renderer struct{ app *af.App }

const dies = 7

func (w *renderer) Run(ctx context.Context, n int) error {
	if n == dies {
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			return err
		}
		<-ctx.Done()
	}
	if _, err := get.Call(ctx, af.NewClient(w.app), 1); err != nil {
		return err
	}
	_, err := af.NewVoidQueue[int](w.app, notes).Submit(ctx, 1)
	return err
}

// A line is a span of another process.
type line struct{ Name, Trace, ID, Parent string }

// file is an exporter that appends spans to a file.
type file struct{ path string }

func (f file) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	out, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	for _, s := range spans {
		if err := json.NewEncoder(out).Encode(line{s.Name(), s.SpanContext().TraceID().String(),
			s.SpanContext().SpanID().String(), s.Parent().SpanID().String()}); err != nil {
			return err
		}
	}
	return nil
}

func (file) Shutdown(context.Context) error { return nil }

// isolated is main in a child process. The batches of its provider are only written if they are flushed.
func isolated() int {
	ctx := context.Background()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(file{os.Getenv(spansFile)}))
	observed, err := afotel.New(afotel.TracerProvider(tracers), afotel.Propagator(propagation.TraceContext{}))
	if err == nil {
		var app *af.App
		if app, err = af.Open(ctx, memory.New(), af.Instrument(observed)); err == nil {
			af.RegisterVoidWorker(app, render, &renderer{app})
			err = app.Run(ctx)
		}
	}
	fmt.Fprintln(os.Stderr, "main of the child:", err)
	return 1
}

// What a handler does in a child process is below the attempt, which is a span of the parent.
func TestTraceThroughChildProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spans")
	t.Setenv(spansFile, path)
	t.Setenv("AFOTEL_TEST_PARENT", fmt.Sprint(os.Getpid()))
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	f := observe(t)
	app := f.start(memory.New(), func(app *af.App) {
		register(app)
		af.RegisterVoidWorker(app, render, &renderer{app})
	})
	ctx, request := f.root()
	q := af.NewVoidQueue[int](app, render)
	id, err := q.Submit(ctx, 1, af.Retries(0))
	f.must(err)
	f.must(q.Wait(t.Context(), id))
	attempt := f.of("process render", id, 1)[0]
	if attempt.SpanContext().TraceID() != request.TraceID() || value(attempt, "af.task.process") != "true" {
		t.Errorf("the attempt is %v with %v", attempt.SpanContext(), attempt.Attributes())
	}
	found := map[string]line{}
	for _, l := range lines(t, path) {
		found[l.Name] = l
		if l.Parent != attempt.SpanContext().SpanID().String() || l.Trace != request.TraceID().String() {
			t.Errorf("the child has the span %+v, want one below %v", l, attempt.SpanContext().SpanID())
		}
	}
	if len(found) != 2 || found["orders/Get"].ID == "" || found["submit notes"].ID == "" {
		t.Errorf("the child has the spans %v", found)
	}
	killed, err := q.Submit(t.Context(), dies, af.Retries(0))
	f.must(err)
	if err := q.Wait(t.Context(), killed); err == nil {
		t.Error("the task of a killed process has succeeded")
	}
	f.is(f.of("process render", killed, 1)[0], codes.Error, "failed", "internal")
	f.within("the call is handled", func() bool { return len(f.named("orders/Get")) == 1 })
	if s := f.named("orders/Get")[0]; s.Parent().SpanID().String() != found["orders/Get"].ID {
		t.Errorf("the call of the child is handled with the parent %v", s.Parent())
	}
	f.endedOnce()
}

func lines(t *testing.T, path string) (all []line) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		var v line
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

// hangs runs until its process dies.
type hangs struct{}

func (*hangs) Run(context.Context, int) error {
	fmt.Println("running")
	select {}
}

// work is main of a process that is killed.
func work() int {
	ctx := context.Background()
	app, err := af.Open(ctx, embedded.File(os.Getenv(storeFile)), quiet())
	if err == nil {
		af.RegisterVoidWorker(app, notes, &hangs{})
		err = app.Run(ctx)
	}
	fmt.Fprintln(os.Stderr, "main of the worker:", err)
	return 1
}

// A process that is killed can't end its span: the App that notices it makes one.
func TestKilledProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	f := observe(t)
	app := f.start(embedded.File(path), nil)
	ctx, request := f.root()
	id, err := af.NewVoidQueue[int](app, notes).Submit(ctx, 1)
	f.must(err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), storeFile+"="+path)
	out, err := cmd.StdoutPipe()
	f.must(err)
	f.must(cmd.Start())
	if s := bufio.NewScanner(out); !s.Scan() || s.Text() != "running" {
		t.Errorf("the process prints %q", s.Text())
	}
	f.must(cmd.Process.Kill())
	_ = cmd.Wait()
	// the failure detector is part of Apps with workers; this one runs the task again
	f.start(embedded.File(path), func(app *af.App) {
		af.RegisterVoidWorker(app, notes, &nothing{})
	})
	lost := f.of("lost notes", id, 1)[0]
	f.is(lost, codes.Error, "lost", "aborted")
	submit := f.of("submit notes", id, 1)[0]
	if lost.Parent().SpanID() != submit.SpanContext().SpanID() || lost.SpanContext().TraceID() != request.TraceID() ||
		links(lost)["creation"] != submit.SpanContext().SpanID() {
		t.Errorf("the lost attempt is below %v", lost.Parent())
	}
	f.is(f.of("process notes", id, 1)[0], codes.Unset, "success", "")
	if got := points(f.collect()["af.task.crashes"]); len(got) != 1 {
		t.Errorf("af.task.crashes has %v", got)
	}
	f.endedOnce()
}

type nothing struct{}

func (*nothing) Run(context.Context, int) error { return nil }
