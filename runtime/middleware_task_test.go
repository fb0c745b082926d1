package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// around returns a worker middleware that calls do instead of the next handler.
func around(do func(ctx context.Context, t *af.Running, next af.TaskHandler) (json.RawMessage, error)) af.AppOption {
	return af.WorkerMiddleware(func(next af.TaskHandler) af.TaskHandler {
		return func(ctx context.Context, t *af.Running) (json.RawMessage, error) { return do(ctx, t, next) }
	})
}

// A trail is a list that goroutines append to.
type trail struct {
	mu   sync.Mutex
	list []string
}

func (l *trail) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, fmt.Sprintf(format, args...))
}

// take returns the lines and removes them.
func (l *trail) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.list
	l.list = nil
	return taken
}

// tracing returns a worker middleware that records each call in l.
func tracing(l *trail, name string) func(af.TaskHandler) af.TaskHandler {
	return func(next af.TaskHandler) af.TaskHandler {
		return func(ctx context.Context, t *af.Running) (json.RawMessage, error) {
			if t != af.TaskFrom(ctx) {
				l.add("TaskFrom is another task")
			}
			l.add("%s %s %s", name, t.Queue, t.Payload)
			result, err := next(ctx, t)
			l.add("%s %s %v", name, result, err)
			return result, err
		}
	}
}

func TestWorkerMiddlewareOrder(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var trace trail
		_, q := work(t, memory.New(), jobWorker, func(_ context.Context, n int) (int, error) {
			switch n {
			case 1:
				panic("!")
			case 2:
				return 0, af.Permanent(af.NewError(af.ErrOutOfRange, "no"))
			}
			return 2 * n, nil
		}, af.WorkerMiddleware(tracing(&trace, "a"), nil, tracing(&trace, "b")), af.WorkerMiddleware(tracing(&trace, "c")))
		for n, want := range map[int]string{1: " the handler panicked", 2: " out_of_range: no", 21: "42 <nil>"} {
			_, err := q.Wait(t.Context(), must(q.Submit(t.Context(), n))(t))
			if (err == nil) != (n == 21) {
				t.Errorf("task %d: %v", n, err)
			}
			call := fmt.Sprint(" job ", n)
			if got := trace.take(); !slices.Equal(got,
				[]string{"a" + call, "b" + call, "c" + call, "c " + want, "b " + want, "a " + want}) {
				t.Errorf("trace %q", got)
			}
		}
	})
}

// Middleware sees the attempts of Run, SubtasksDone and functions of jobs, and tells them apart.
func TestWorkerMiddlewareSeesAllHandlers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var seen trail
		app := open(t, memory.New(), around(func(ctx context.Context, r *af.Running, next af.TaskHandler) (json.RawMessage,
			error) {
			seen.add("%s %s attempt %d of %q done %q job %q %s", r.Queue, r.ID, r.Attempt, r.Source, r.DoneOf, r.Job, r.Payload)
			return next(ctx, r)
		}))
		af.RegisterWorker(app, jobWorker, &fanJob{job{same}, func(_ context.Context, n int, s af.Subtasks) error {
			seen.add("done %d %d", n, s.Succeeded)
			return nil
		}})
		af.HandleJob(app, "nightly", "@daily", func(context.Context, string) error { return nil }, af.Arguments("x"))
		start(t, app)
		q := af.NewQueue[int, int](app, jobWorker)
		if _, err := q.Wait(t.Context(), must(q.Submit(t.Context(), 1, af.TaskID("s")))(t)); err != nil {
			t.Fatal(err)
		}
		sub := must(q.Subtasks(t.Context(), "s", []int{2}))(t)[0]
		if _, err := app.WaitTask(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // until SubtasksDone has run
		run := must(app.RunJob(t.Context(), "nightly"))(t)
		if _, err := app.WaitTask(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		if got, want := seen.take(), []string{
			`job s attempt 1 of "" done "" job "" 1`,
			`job ` + sub + ` attempt 1 of "s" done "" job "" 2`,
			`job s/done attempt 1 of "" done "s" job "" 1`, `done 1 1`,
			`job.nightly ` + run + ` attempt 1 of "" done "" job "nightly" "x"`,
		}; !slices.Equal(got, want) {
			t.Errorf("seen\n%q\nwant\n%q", got, want)
		}
	})
}

// Middleware decides the end of an attempt: its result and its error count, not the handler's.
func TestWorkerMiddlewareReplacesTheEnd(t *testing.T) {
	type handler = func(ctx context.Context, r *af.Running, next af.TaskHandler) (json.RawMessage, error)
	always := func(result string, err error) handler {
		return func(context.Context, *af.Running, af.TaskHandler) (json.RawMessage, error) {
			return json.RawMessage(result), err
		}
	}
	for name, c := range map[string]struct {
		do      handler
		code    af.Code // "" if the task succeeds
		text    string  // of the error, or the result
		attempt int
	}{
		"refuse": {always("", af.Permanent(af.NewError(af.ErrPermissionDenied, "not yours"))),
			af.ErrPermissionDenied, "not yours", 1},
		"plain":     {always("", errors.New("breaker open")), af.ErrUnknown, "breaker open", 3},
		"nil_error": {always("", (*af.Error)(nil)), af.ErrInternal, "nil *af.Error", 3},
		"no_json":   {always(`{"a":`, nil), af.ErrInternal, `queue "job": the result of a worker middleware is not JSON`, 3},
		"zero":      {always("", nil), "", "0", 1},
		"result":    {always("7", nil), "", "7", 1},
		"panic": {func(context.Context, *af.Running, af.TaskHandler) (json.RawMessage, error) { panic("!") },
			af.ErrInternal, "the handler panicked: ! (at middleware_task_test.go:", 3},
		"snooze": {func(ctx context.Context, r *af.Running, next af.TaskHandler) (json.RawMessage, error) {
			if r.Fence < 5 {
				return nil, fmt.Errorf("too early: %w", af.Snooze(time.Minute))
			}
			return json.RawMessage(fmt.Sprint(r.Fence)), nil
		}, "", "5", 1},
		"handler_panics": {func(ctx context.Context, r *af.Running, next af.TaskHandler) (json.RawMessage, error) {
			_, err := next(ctx, r)
			return nil, af.Permanent(fmt.Errorf("tenant a: %w", err))
		}, af.ErrInternal, "tenant a: the handler panicked: secret (at middleware_task_test.go:", 1},
		"decrypt": {func(ctx context.Context, r *af.Running, next af.TaskHandler) (json.RawMessage, error) {
			r.Payload = json.RawMessage("20")
			return next(context.WithValue(ctx, trailKey{}, 1), r)
		}, "", "21", 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := jobWorker
				w.Retries = 2
				app, q := work(t, memory.New(), w, func(ctx context.Context, n int) (int, error) {
					if n == 1 {
						panic("secret")
					}
					more, _ := ctx.Value(trailKey{}).(int)
					return n + more, nil
				}, around(c.do))
				id := must(q.Submit(t.Context(), 1))(t)
				got, err := q.Wait(t.Context(), id)
				if c.code != "" {
					wantError(t, err, c.code, af.OutcomeAnswered, c.text)
				} else if fmt.Sprint(got) != c.text || err != nil {
					t.Errorf("got %d, %v", got, err)
				}
				if task := must(app.GetTask(t.Context(), id))(t); task.Attempt != c.attempt || string(task.Payload) != "1" {
					t.Errorf("%d attempts with %s", task.Attempt, task.Payload)
				}
			})
		})
	}
}

type trailKey struct{}

// Without a result of the worker, none of middleware is needed.
func TestWorkerMiddlewareOfVoidWorker(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var trace trail
		app := open(t, memory.New(), af.WorkerMiddleware(tracing(&trace, "m")))
		af.HandleJob(app, "j", "@daily", func(context.Context, int) error { return nil })
		start(t, app)
		task := must(app.WaitTask(t.Context(), must(app.RunJob(t.Context(), "j"))(t)))(t)
		if got := trace.take(); task.Status != backend.StatusSuccess || task.Result != nil ||
			!slices.Equal(got, []string{"m job.j 0", "m  <nil>"}) {
			t.Errorf("%q, task %+v", got, task)
		}
	})
}

// The timeout of an attempt limits middleware, and its context has the logger and the instance of the task.
func TestWorkerMiddlewareRunsInTheAttempt(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var out log
		w := jobWorker
		w.Timeout = time.Minute
		var cause error
		app, q := work(t, memory.New(), w, same, out.option(), around(func(ctx context.Context, r *af.Running,
			next af.TaskHandler) (json.RawMessage, error) {
			af.LoggerFrom(ctx).Info("in middleware", "instance of", af.InstanceFrom(ctx).ID)
			if err := r.Progress(ctx, "begun"); err != nil {
				return nil, err
			}
			<-ctx.Done()
			cause = context.Cause(ctx)
			return nil, cause
		}))
		id := must(q.Submit(t.Context(), 1))(t)
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "attempt timed out")
		if !errors.Is(cause, af.ErrDeadlineExceeded) || !strings.Contains(cause.Error(), "attempt timed out") {
			t.Errorf("cause %v", cause)
		}
		r := out.record(t, "in middleware")
		task := must(app.GetTask(t.Context(), id))(t)
		if r["task"] != id || r["queue"] != "job" || r["instance of"] != app.Instance().ID || len(task.Log) != 2 ||
			string(task.Progress) != `"begun"` {
			t.Errorf("logged %v, task %+v", r, task)
		}
	})
}

// Middleware that wraps all errors does not cost a task of another version its attempts.
func TestWorkerMiddlewareKeepsUndecodablePayloads(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Payload = "newer"
		app, _ := work(t, memory.New(), w, same, around(func(ctx context.Context, r *af.Running, next af.TaskHandler) (
			json.RawMessage, error) {
			result, err := next(ctx, r)
			if err != nil {
				err = fmt.Errorf("tenant a: %w", err)
			}
			return result, err
		}))
		w.Payload = "older"
		id := must(af.NewQueue[string, int](app, w).Submit(t.Context(), "no number"))(t)
		time.Sleep(time.Minute)
		if task := must(app.GetTask(t.Context(), id))(t); task.Status.Final() || task.Attempt != 0 ||
			task.WrongVersionSince.IsZero() {
			t.Errorf("task %+v", task)
		}
	})
}

// The log has the panic of a handler, also if middleware wraps or hides it.
func TestWorkerMiddlewareLogsPanics(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		for _, redact := range []bool{false, true} {
			var out log
			opts := []af.AppOption{out.option(), around(func(ctx context.Context, r *af.Running, next af.TaskHandler) (
				json.RawMessage, error) {
				_, err := next(ctx, r)
				return nil, af.Errorf(af.ErrUnavailable, "try again: %w", err)
			})}
			want := "unavailable: try again: the handler panicked: the value (at panic_test.go:"
			if redact {
				opts, want = append(opts, af.RedactErrors()), "unavailable: try again: the handler panicked"
			}
			_, q := work(t, memory.New(), jobWorker, func(context.Context, int) (int, error) {
				panicked("the value")
				return 0, nil
			}, opts...)
			_, err := q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t))
			wantError(t, err, af.ErrUnavailable, af.OutcomeAnswered, "")
			if text := err.Error(); !strings.HasPrefix(text, want) || redact && text != want {
				t.Errorf("redacted %v: %v", redact, err)
			}
			wantPanic(t, &out, "panic in a worker", "the value")
		}
	})
}

func TestMiddlewareThatReturnsNil(t *testing.T) {
	app := open(t, memory.New(), af.WorkerMiddleware(func(af.TaskHandler) af.TaskHandler { return nil }))
	af.RegisterWorker(app, jobWorker, &job{same})
	if err := app.Start(t.Context()); !errors.Is(err, af.ErrInvalidArgument) ||
		!strings.Contains(err.Error(), "RegisterJob: a worker middleware returned nil") {
		t.Error(err)
	}
	_, err := af.Open(t.Context(), memory.New(), af.SubmitMiddleware(func(af.Submitter) af.Submitter { return nil }))
	if !errors.Is(err, af.ErrInvalidArgument) || !strings.Contains(err.Error(), "a submit middleware returned nil") {
		t.Error(err)
	}
}
