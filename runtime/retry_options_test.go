package runtime_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// An order is a payload with members.
type order struct {
	ID    int    `json:"id"`
	Notes string `json:"notes,omitempty"`
}

type orderWorker struct {
	run func(context.Context, order) error
}

func (w *orderWorker) Run(ctx context.Context, o order) error { return w.run(ctx, o) }

// A retry with another payload runs with it. A payload that the worker can't decode is refused, and changes nothing.
func TestRetryWithPayload(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := memory.New()
		w := af.Worker{Name: "orders", Type: "Orders", Max: 1, Weight: 1, Payload: "v1"}
		app := open(t, b)
		ran := make(chan order, 10)
		af.RegisterVoidWorker(app, w, &orderWorker{func(_ context.Context, o order) error {
			ran <- o
			if o.Notes == "" {
				return af.Permanent(errors.New("no notes"))
			}
			return nil
		}})
		start(t, app)
		ctx := t.Context()
		q := af.NewVoidQueue[order](app, w)
		id := must(q.Submit(ctx, order{ID: 7}))(t)
		must(app.WaitTask(ctx, id))(t)
		<-ran
		for _, payload := range []string{"", "{", `{"id":1} 2`, `[]`, `{"id":"7"}`, `{"id":7,"note":"x"}`} {
			if _, err := app.RetryTask(ctx, id, af.Payload([]byte(payload))); !errors.Is(err, af.ErrInvalidArgument) {
				t.Errorf("payload %s: %v", payload, err)
			}
		}
		if _, err := app.RetryTask(ctx, id, af.Payload(nil)); !errors.Is(err, af.ErrInvalidArgument) {
			t.Errorf("no payload: %v", err)
		}
		if got := must(app.GetTask(ctx, id))(t); got.RetriedBy != "" {
			t.Errorf("retried by %s", got.RetriedBy)
		}
		retry := must(app.RetryTask(ctx, id, af.Payload([]byte(`{"id":7,"notes":"x"}`))))(t)
		if got := must(app.WaitTask(ctx, retry))(t); got.Status != af.StatusSuccess || got.RetryOf != id {
			t.Errorf("%+v", got)
		}
		if o := <-ran; o != (order{7, "x"}) {
			t.Errorf("ran with %+v", o)
		}
		other := open(t, b) // without the worker
		start(t, other)
		if _, err := other.RetryTask(ctx, retry, af.Payload([]byte("{"))); !errors.Is(err, af.ErrInvalidArgument) {
			t.Errorf("not JSON: %v", err)
		}
		again := must(other.RetryTask(ctx, retry, af.Payload([]byte(`{"notes":"y"}`))))(t)
		if got := must(app.WaitTask(ctx, again))(t); got.Status != af.StatusSuccess || string(got.Payload) != `{"notes":"y"}` {
			t.Errorf("%+v", got)
		}
	})
}

// Replace deletes the old task once the new one is stored. If that is interrupted, repeating the call completes it.
func TestRetryReplacesTask(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var left atomic.Int64
		left.Store(1 << 40)
		app, q := work(t, altered{memory.New(), func(p *backend.Ports) { p.Store = deletes{p.Store, &left} }}, jobWorker, same)
		ctx := t.Context()
		id := must(q.Submit(ctx, 1))(t)
		must(q.Wait(ctx, id))(t)
		left.Store(0)
		first, err := app.RetryTask(ctx, id, af.Replace())
		if !errors.Is(err, af.ErrUnavailable) || first == "" {
			t.Fatalf("%q, %v", first, err)
		}
		if got := must(app.GetTask(ctx, id))(t); got.RetriedBy != first {
			t.Errorf("%+v", got)
		}
		left.Store(1 << 40)
		created := true
		if again := must(app.RetryTask(ctx, id, af.Replace(), af.Created(&created)))(t); again != first || created {
			t.Errorf("again: %s, created: %v, want %s", again, created, first)
		}
		if _, err := app.GetTask(ctx, id); !errors.Is(err, af.ErrNotFound) {
			t.Errorf("the old task: %v", err)
		}
		if n := must(q.Wait(ctx, first))(t); n != 1 {
			t.Errorf("result %d", n)
		}
		if _, err := app.RetryTask(ctx, id, af.Replace()); !errors.Is(err, af.ErrNotFound) {
			t.Errorf("after that: %v", err)
		}
	})
}

// Replace is refused, and changes nothing, if the old task can't be deleted.
func TestRefusedReplaceChangesNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begun := make(chan struct{}, 10)
		app, q := work(t, memory.New(), jobWorker, func(ctx context.Context, n int) (int, error) {
			if n < 0 {
				return hang(begun)(ctx, n)
			}
			return n, nil
		})
		ctx := t.Context()
		source := must(q.Store(ctx, 1, af.Delay(time.Second)))(t)
		sub := must(q.Subtasks(ctx, source, []int{2}))(t)[0]
		must(0, func() error { _, err := q.Subtasks(ctx, sub, []int{-3, 4}); return err }())(t)
		<-begun // a subtask of the subtask
		time.Sleep(time.Second)
		for what, id := range map[string]string{"source": source, "subtask": sub} {
			if _, err := app.RetryTask(ctx, id, af.Replace()); !errors.Is(err, af.ErrFailedPrecondition) {
				t.Errorf("%s: %v", what, err)
			}
			if got := must(app.GetTask(ctx, id))(t); got.RetriedBy != "" || got.Status != af.StatusSuccess {
				t.Errorf("%s: %+v", what, got)
			}
		}
		must(0, app.StopTask(ctx, source))(t)
		must(app.WaitTree(ctx, source))(t)
		retry := must(app.RetryTask(ctx, source, af.Replace()))(t)
		must(q.Wait(ctx, retry))(t)
		if page := must(app.Tasks(ctx, af.TaskQuery{}))(t); page.Total != 1 {
			t.Errorf("%d tasks are left", page.Total)
		}
	})
}
