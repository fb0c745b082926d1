package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// submitting returns a submit middleware that calls do instead of the next Submitter.
func submitting(do func(ctx context.Context, s af.Submission, next af.Submitter) ([]string, error)) af.AppOption {
	return af.SubmitMiddleware(func(next af.Submitter) af.Submitter {
		return af.SubmitterFunc(func(ctx context.Context, s af.Submission) ([]string, error) { return do(ctx, s, next) })
	})
}

// Submit middleware sees each call once, as a batch, and not what the runtime submits itself.
func TestSubmitMiddlewareSeesSubmissions(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var trace trail
		step := func(name string) af.AppOption {
			return submitting(func(ctx context.Context, s af.Submission, next af.Submitter) ([]string, error) {
				trace.add("%s %s %s stored %v of %q", name, s.Worker.Name, s.Payloads, s.Stored, s.Source)
				s.Options.Weight = new(5)
				ids, err := next.SubmitTasks(ctx, s)
				trace.add("%s %d %v", name, len(ids), err)
				return ids, err
			})
		}
		app := open(t, memory.New(), step("a"), af.SubmitMiddleware(nil), step("b"))
		af.RegisterWorker(app, jobWorker, &fanJob{job{same}, func(context.Context, int, af.Subtasks) error { return nil }})
		af.HandleJob(app, "j", "@daily", func(context.Context, int) error { return nil })
		start(t, app)
		q := af.NewQueue[int, int](app, jobWorker)
		saw := func(want ...string) {
			t.Helper()
			time.Sleep(time.Second)
			if got := trace.take(); !slices.Equal(got, want) {
				t.Errorf("trace\n%q\nwant\n%q", got, want)
			}
		}
		id := must(q.Submit(t.Context(), 1))(t)
		saw(`a job [1] stored false of ""`, `b job [1] stored false of ""`, "b 1 <nil>", "a 1 <nil>")
		if w := must(q.Get(t.Context(), id))(t).Weight; w != 5 {
			t.Errorf("weight %d", w)
		}
		must(q.Store(t.Context(), 2))(t)
		saw(`a job [2] stored true of ""`, `b job [2] stored true of ""`, "b 1 <nil>", "a 1 <nil>")
		must(q.SubmitMany(t.Context(), []int{3, 4}))(t)
		saw(`a job [3 4] stored false of ""`, `b job [3 4] stored false of ""`, "b 2 <nil>", "a 2 <nil>")
		must(q.Subtasks(t.Context(), id, []int{5, 6}))(t)
		of := fmt.Sprintf(` job [5 6] stored false of %q`, id)
		saw("a"+of, "b"+of, "b 2 <nil>", "a 2 <nil>")
		must(app.RetryTask(t.Context(), id))(t)
		must(app.RunJob(t.Context(), "j"))(t)
		saw()
	})
}

// Errors of submit middleware get a code. Those of the store pass through unchanged, with outcome and id.
func TestErrorsOfSubmitMiddleware(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		lost := af.NewError(af.ErrUnavailable, "the reply was lost")
		b := altered{memory.New(), func(p *backend.Ports) { p.Store = lostInserts{p.Store, lost} }}
		var refusal error
		app, q := work(t, b, jobWorker, same, submitting(func(ctx context.Context, s af.Submission, next af.Submitter) (
			[]string, error) {
			if refusal != nil {
				return nil, refusal
			}
			return next.SubmitTasks(ctx, s)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := q.Submit(ctx, 1)
		wantError(t, err, af.ErrUnavailable, af.OutcomeUnknown, "the reply was lost")
		if id := af.SubmittedID(err); id == "" || must(app.GetTask(t.Context(), id))(t).ID != id {
			t.Errorf("submitted id %q of %v", id, err)
		}
		refusal = af.NewError(af.ErrPermissionDenied, "no tenant").With(af.OutcomeNotSent)
		_, err = q.Submit(t.Context(), 1)
		wantError(t, err, af.ErrPermissionDenied, af.OutcomeNotSent, "no tenant")
		refusal = errors.New("breaker open")
		_, err = q.SubmitMany(t.Context(), []int{1, 2})
		wantError(t, err, af.ErrUnknown, af.OutcomeUnknown, "breaker open")
	})
}

// lostInserts is a Store whose inserts take effect, but return an error.
type lostInserts struct {
	backend.Store
	err error
}

func (s lostInserts) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	if _, err := s.Store.Insert(ctx, tasks); err != nil {
		return nil, err
	}
	return nil, s.err
}
