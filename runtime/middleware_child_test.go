package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

// In a child process both kinds of middleware run there, once, and not in the parent.
func TestMiddlewareInChild(t *testing.T) {
	var parent trail
	t.Setenv("AF_TEST_MIDDLEWARE", "1")
	_, q := isolate(t, func(app *af.App) {
		af.RegisterWorker(app, jobWorker, &job{same})
	}, childMiddleware(&parent, false)...)
	id := must(q.Submit(af.WithMetadata(t.Context(), "tenant", "a"), action{Do: "submit", N: 1}))(t)
	got := must(q.Wait(t.Context(), id))(t)
	var seen []string
	if err := json.Unmarshal(must(q.Get(t.Context(), id))(t).Progress, &seen); err != nil {
		t.Fatal(err)
	}
	if want := []string{`iso of a {"do":"submit","n":1}`, "submits to job", "iso <nil>"}; !slices.Equal(seen, want) {
		t.Errorf("the child has seen %q, want %q", seen, want)
	}
	if got.PID == os.Getpid() || got.Text != fmt.Sprint("result of middleware in ", got.PID) {
		t.Errorf("got %+v", got)
	}
	if seen, want := parent.take(), []string{"submits to iso", "job of b 1", "job <nil>"}; !slices.Equal(seen, want) {
		t.Errorf("the parent has seen %q, want %q", seen, want)
	}
}

// Errors of middleware in a child process have the same effect as in a goroutine.
func TestErrorsOfMiddlewareInChild(t *testing.T) {
	t.Setenv("AF_TEST_MIDDLEWARE", "1")
	var out log
	app, _ := isolate(t, nil, out.option())
	q := af.NewQueue[action, report](app, isoFan) // with retries
	for _, c := range []struct {
		do      string
		code    af.Code
		text    string
		attempt int
	}{
		{"refuse", af.ErrPermissionDenied, "refused", 1},
		{"panic", af.ErrInternal, "wrapped: the handler panicked: secret (at isolate_worker_test.go:", 1},
		{"plain", af.ErrUnknown, "wrapped: plain", 3},
		{"coded", af.ErrOutOfRange, "too far", 3},
	} {
		id := must(q.Submit(t.Context(), action{Do: c.do}))(t)
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, c.code, af.OutcomeAnswered, c.text)
		if task := must(q.Get(t.Context(), id))(t); task.Attempt != c.attempt {
			t.Errorf("%s: %d attempts", c.do, task.Attempt)
		}
	}
	if r := out.record(t, "panic in a worker"); r["panic"] != "secret" {
		t.Errorf("logged %v", r)
	}
	id := must(q.Submit(t.Context(), action{Do: "snooze"}))(t)
	await(t, app, id, "it snoozes", func(task af.Task) bool {
		return task.Status == backend.StatusWaiting && time.Until(task.RunAt) > 50*time.Minute && task.Attempt == 0
	})
}

// childMiddleware returns the middleware of the Apps of TestMiddlewareInChild and TestErrorsOfMiddlewareInChild. In a
// child process it stores what it has seen as the task's progress.
func childMiddleware(seen *trail, child bool) []af.AppOption {
	worker := around(func(ctx context.Context, r *af.Running, next af.TaskHandler) (json.RawMessage, error) {
		var a action
		_ = json.Unmarshal(r.Payload, &a) // those of other queues are no actions
		if a.Do == "refuse" {
			return nil, af.Permanent(af.NewError(af.ErrPermissionDenied, "refused"))
		}
		seen.add("%s of %s %s", r.Queue, af.MetadataFrom(ctx)["tenant"], r.Payload)
		result, err := next(ctx, r)
		seen.add("%s %v", r.Queue, err)
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
		if a.Do == "panic" {
			err = af.Permanent(err)
		}
		if child && a.Do == "submit" && err == nil {
			var is report
			if err = json.Unmarshal(result, &is); err == nil {
				is.Text = fmt.Sprint("result of middleware in ", os.Getpid())
				result, err = json.Marshal(is)
			}
			err = errors.Join(err, r.Progress(ctx, seen.take()))
		}
		return result, err
	})
	submit := submitting(func(ctx context.Context, s af.Submission, next af.Submitter) ([]string, error) {
		seen.add("submits to %s", s.Worker.Name)
		if child {
			ctx = af.WithMetadata(ctx, "tenant", "b")
		}
		return next.SubmitTasks(ctx, s)
	})
	return []af.AppOption{worker, submit}
}
