package afotel_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

// What a task of the worker does, by its payload.
const (
	succeeds = iota
	fansOut  // it makes a call, submits a subtask and succeeds
	retries
	snoozes
	fails
	panics
	timesOut
	stops
)

var (
	resize = af.Worker{Name: "resize", Type: "Resize", Max: 8, Backoff: time.Millisecond, Weight: 1}
	get    = &af.Method[int, int]{Service: "orders", Name: "Get", Timeout: patience}
)

type orders struct{}

func register(app *af.App) {
	af.RegisterService(app, af.Service{Name: "orders", Type: "Orders"}, &orders{},
		af.Bind(get, func(_ context.Context, _ *orders, n int) (int, error) {
			switch {
			case n < 0:
				return 0, af.Errorf(af.ErrNotFound, "secret %d", n)
			case n > 100:
				return 0, af.Errorf(af.ErrInternal, "secret %d", n)
			}
			return n, nil
		}))
}

// resizer is a worker with subtasks.
type resizer struct {
	app     *af.App
	started chan struct{} // a task that stops has begun
	snoozed atomic.Bool
}

func (w *resizer) Run(ctx context.Context, n int) (int, error) {
	t := af.TaskFrom(ctx)
	switch n {
	case fansOut:
		_, err := get.Call(ctx, af.NewClient(w.app), 1)
		if err == nil {
			_, err = af.NewQueue[int, int](w.app, resize).Subtasks(ctx, t.ID, []int{succeeds})
		}
		return n, err
	case retries:
		if t.Attempt == 1 {
			return 0, errors.New("secret")
		}
	case snoozes:
		if !w.snoozed.Swap(true) {
			return 0, af.Snooze(0)
		}
	case fails:
		return 0, af.Permanent(af.ErrNotFound)
	case panics:
		panic("secret")
	case timesOut, stops:
		if n == stops {
			w.started <- struct{}{}
		}
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return n, nil
}

// SubtasksDone implements a worker with fan-in.
func (w *resizer) SubtasksDone(context.Context, int, af.Subtasks) error { return nil }

// pair starts an App that serves and works, and another one.
func (f *fixture) pair(open func() backend.Backend) (client *af.App, w *resizer) {
	w = &resizer{started: make(chan struct{}, 1)}
	f.start(open(), func(app *af.App) {
		w.app = app
		register(app)
		af.RegisterWorker(app, resize, w)
	})
	return f.start(open(), nil), w
}

// One trace leads from a request through a task, its call and its subtask to SubtasksDone.
func TestOneTrace(t *testing.T) {
	onEach(t, func(t *testing.T, open func() backend.Backend) {
		f := observe(t)
		client, _ := f.pair(open)
		ctx, request := f.root()
		id, err := af.NewQueue[int, int](client, resize).Submit(ctx, fansOut)
		f.must(err)
		_, err = client.WaitTree(t.Context(), id)
		f.must(err)
		var got []string
		f.within("the trace has all spans", func() bool {
			got = f.tree(request)
			return len(got) >= 8
		})
		want := []string{
			"GET / internal",
			"GET / internal > submit resize producer",
			"GET / internal > submit resize producer > process resize consumer",
			"GET / internal > submit resize producer > process resize consumer", // SubtasksDone
			"GET / internal > submit resize producer > process resize consumer > orders/Get client",
			"GET / internal > submit resize producer > process resize consumer > orders/Get client > orders/Get server",
			"GET / internal > submit resize producer > process resize consumer > submit resize producer",
			"GET / internal > submit resize producer > process resize consumer > submit resize producer > " +
				"process resize consumer",
		}
		if !slices.Equal(got, want) {
			t.Errorf("the trace is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, s := range f.named("process resize") {
			if links(s)["creation"] != s.Parent().SpanID() {
				t.Errorf("an attempt has links %v, want one to its parent", links(s))
			}
		}
		task, err := client.GetTask(t.Context(), id)
		f.must(err)
		if !strings.Contains(task.Trace, request.TraceID().String()) {
			t.Errorf("the task has the trace %q", task.Trace)
		}
		f.endedOnce()
	})
}

// tree returns the paths of the spans of a trace, sorted.
func (f *fixture) tree(root trace.SpanContext) (paths []string) {
	byID := map[trace.SpanID]sdktrace.ReadOnlySpan{}
	for _, s := range f.spans.Ended() {
		if s.SpanContext().TraceID() == root.TraceID() {
			byID[s.SpanContext().SpanID()] = s
		}
	}
	for _, s := range byID {
		path := s.Name() + " " + s.SpanKind().String()
		for up, ok := byID[s.Parent().SpanID()]; ok; up, ok = byID[up.Parent().SpanID()] {
			path = up.Name() + " " + up.SpanKind().String() + " > " + path
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

func TestStatusOfAttempts(t *testing.T) {
	onEach(t, func(t *testing.T, open func() backend.Backend) {
		f := observe(t)
		client, w := f.pair(open)
		q := af.NewQueue[int, int](client, resize)
		ids := map[int]string{}
		for n := retries; n <= stops; n++ {
			opts := []af.SubmitOption{af.Retries(1)}
			if n == timesOut {
				opts = []af.SubmitOption{af.Timeout(10 * time.Millisecond), af.Retries(0)}
			} else if n == panics {
				opts = []af.SubmitOption{af.Retries(0)}
			}
			id, err := q.Submit(t.Context(), n, opts...)
			f.must(err)
			ids[n] = id
		}
		<-w.started
		f.must(client.StopTask(t.Context(), ids[stops]))
		const name = "process resize"
		two := f.of(name, ids[retries], 2)
		f.is(two[0], codes.Error, "failed", "unknown")
		f.is(two[1], codes.Unset, "success", "")
		if got := links(two[1]); got["previous_attempt"] != two[0].SpanContext().SpanID() {
			t.Errorf("the second attempt has links %v", got)
		}
		if a := value(two[1], "af.task.attempt"); a != "2" || value(two[0], "af.task.status") != "retrying" {
			t.Errorf("the second attempt has number %q", a)
		}
		two = f.of(name, ids[snoozes], 2)
		f.is(two[0], codes.Unset, "returned", "")
		f.is(two[1], codes.Unset, "success", "")
		if value(two[0], "af.task.snoozed") != "true" {
			t.Error("the attempt is not snoozed")
		}
		f.is(f.of(name, ids[fails], 1)[0], codes.Error, "failed", "not_found")
		f.is(f.of(name, ids[panics], 1)[0], codes.Error, "failed", "internal")
		f.is(f.of(name, ids[timesOut], 1)[0], codes.Error, "failed", "deadline_exceeded")
		f.is(f.of(name, ids[stops], 1)[0], codes.Unset, "stopped", "")

		again, err := client.RetryTask(t.Context(), ids[fails])
		f.must(err)
		retry, first := f.of("submit resize", again, 1)[0], f.of("submit resize", ids[fails], 1)[0]
		if got := links(retry)["retried_task"]; got != first.SpanContext().SpanID() {
			t.Errorf("RetryTask has links %v", links(retry))
		}
		attempt := f.of(name, again, 1)[0]
		if attempt.Parent().SpanID() != retry.SpanContext().SpanID() || value(attempt, "af.task.retry_of") != ids[fails] {
			t.Errorf("the attempt of the retried task has the parent %v", attempt.Parent())
		}
		f.endedOnce()
		f.noSecrets()
	})
}

// noSecrets checks that no span has the text of an error.
func (f *fixture) noSecrets() {
	f.Helper()
	for _, s := range f.spans.Ended() {
		if strings.Contains(s.Status().Description, "secret") || len(s.Events()) > 0 {
			f.Errorf("%s has status %v and events %v", s.Name(), s.Status(), s.Events())
		}
		for _, a := range s.Attributes() {
			if strings.Contains(a.Value.String(), "secret") {
				f.Errorf("%s has %v", s.Name(), a)
			}
		}
	}
}

func TestStatusOfCalls(t *testing.T) {
	onEach(t, func(t *testing.T, open func() backend.Backend) {
		f := observe(t)
		client, _ := f.pair(open)
		for i, tt := range []struct {
			n            int
			code         string
			client, serv codes.Code
		}{
			{1, "ok", codes.Unset, codes.Unset},
			{-1, "not_found", codes.Error, codes.Unset}, // the caller's fault
			{101, "internal", codes.Error, codes.Error},
		} {
			_, err := get.Call(t.Context(), af.NewClient(client), tt.n)
			if (err != nil) != (tt.code != "ok") {
				t.Fatal(err)
			}
			f.within("both spans", func() bool { return len(f.named("orders/Get")) == 2*i+2 })
			for _, s := range f.named("orders/Get")[2*i:] {
				want := tt.client
				if s.SpanKind() == trace.SpanKindServer {
					want = tt.serv
				}
				if s.Status().Code != want || value(s, "rpc.response.status_code") != tt.code ||
					value(s, "rpc.system.name") != "afgen" || value(s, "rpc.method") != "orders/Get" ||
					(value(s, "error.type") != "") != (want == codes.Error) {
					t.Errorf("%s %v: %v, %v", s.SpanKind(), tt.n, s.Status(), s.Attributes())
				}
			}
		}
		if _, err := client.Call(t.Context(), "nobody", "Does", nil); !errors.Is(err, af.ErrUnavailable) {
			t.Error(err)
		}
		s := f.named("nobody/Does")[0]
		if s.Status().Code != codes.Error || value(s, "error.type") != "unavailable" ||
			value(s, "af.call.outcome") != "not sent" {
			t.Errorf("%v, %v", s.Status(), s.Attributes())
		}
		f.endedOnce()
		f.noSecrets()
	})
}

// A job begins a trace: fire, submit, process.
func TestJobBeginsTrace(t *testing.T) {
	onEach(t, func(t *testing.T, open func() backend.Backend) {
		f := observe(t)
		f.start(open(), func(app *af.App) {
			af.HandleJobFunc(app, "nightly", "* * * * * *", func(context.Context) error { return nil })
		})
		f.within("the first trace has all spans", func() bool { // an attempt may end before the fire that stored it
			fires := f.named("fire nightly")
			return len(fires) > 0 && len(f.tree(fires[0].SpanContext())) == 3
		})
		fire := f.named("fire nightly")[0]
		if fire.Parent().IsValid() || fire.SpanKind() != trace.SpanKindInternal || value(fire, "af.job") != "nightly" {
			t.Errorf("the fire has the parent %v and %v", fire.Parent(), fire.Attributes())
		}
		paths := f.tree(fire.SpanContext())
		if len(paths) != 3 || !strings.HasPrefix(paths[1], "fire nightly internal > submit ") ||
			!strings.HasPrefix(paths[2], paths[1]+" > process ") {
			t.Errorf("the trace is %q", paths)
		}
	})
}

// Raw messages carry the trace, and failed deliveries are errors.
func TestMessages(t *testing.T) {
	onEach(t, func(t *testing.T, open func() backend.Backend) {
		f := observe(t)
		app := f.start(open(), nil)
		ctx, request := f.root()
		f.must(app.Send(ctx, "mail", "hi"))
		receiving, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- app.Receive(receiving, "mail", func(ctx context.Context, _ json.RawMessage) error {
				if af.MessageFrom(ctx).Attempt == 1 {
					return af.ErrUnavailable
				}
				return nil
			})
		}()
		f.within("two deliveries", func() bool { return len(f.named("process mail")) == 2 })
		stop()
		<-done
		sent, got := f.named("send mail")[0], f.named("process mail")
		if sent.Parent().SpanID() != request.SpanID() || sent.SpanKind() != trace.SpanKindProducer {
			t.Errorf("sent with parent %v", sent.Parent())
		}
		for i, s := range got {
			if s.Parent().SpanID() != sent.SpanContext().SpanID() || (s.Status().Code == codes.Error) != (i == 0) {
				t.Errorf("delivery %d has the parent %v and status %v", i, s.Parent(), s.Status())
			}
		}
		f.endedOnce()
	})
}

// An attempt that is released at shutdown is no error. Another App runs the task again.
func TestReleasedAtShutdown(t *testing.T) {
	onEach(t, func(t *testing.T, open func() backend.Backend) {
		f := observe(t)
		first := &resizer{started: make(chan struct{}, 1)}
		app := f.start(open(), func(app *af.App) { af.RegisterWorker(app, resize, first) })
		client := f.start(open(), nil)
		id, err := af.NewQueue[int, int](client, resize).Submit(t.Context(), stops)
		f.must(err)
		<-first.started
		now, cancel := context.WithCancel(t.Context())
		cancel()
		_ = app.Shutdown(now) // its error is that of now
		released := f.of("process resize", id, 1)[0]
		f.is(released, codes.Unset, "returned", "")
		second := &resizer{started: make(chan struct{}, 1)}
		f.start(open(), func(app *af.App) { af.RegisterWorker(app, resize, second) })
		<-second.started
		f.must(client.StopTask(t.Context(), id))
		both := f.of("process resize", id, 2)
		f.is(both[1], codes.Unset, "stopped", "")
		if value(both[0], "af.task.fence") == value(both[1], "af.task.fence") {
			t.Error("both attempts have one fence")
		}
		f.endedOnce()
	})
}
