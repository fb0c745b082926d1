package runtime_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// asks returns a function that submits with options and reports what Created says. It checks the error.
func asks(t *testing.T, q af.Queue[int, int]) func(opts ...af.SubmitOption) (string, bool) {
	return func(opts ...af.SubmitOption) (string, bool) {
		t.Helper()
		created := false
		id := must(q.Submit(t.Context(), 1, append(opts, af.Created(&created))...))(t)
		return id, created
	}
}

func TestCreatedOrFound(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, same)
		submit := asks(t, q)
		want := func(what string, got, want bool) {
			t.Helper()
			if got != want {
				t.Errorf("%s: created %v", what, got)
			}
		}
		_, created := submit()
		want("a plain task", created, true)
		_, created = submit(af.TaskID("a"))
		want("a new id", created, true)
		_, created = submit(af.TaskID("a"))
		want("the id again", created, false)
		later := af.RunAt(time.Now().Add(time.Hour))
		first, created := submit(af.UniqueKey("k"), later)
		want("a new key", created, true)
		again, created := submit(af.UniqueKey("k"), later)
		want("the key again", created, false)
		if again != first {
			t.Errorf("the key has tasks %s and %s", first, again)
		}
		_, created = submit(af.UniqueKey("k"), later, af.TaskID("own"))
		want("the key again, with an id", created, false)
		must(0, app.StopTask(t.Context(), first))(t)
		_, created = submit(af.UniqueKey("k"))
		want("the key of a task that has ended", created, true)

		created = false
		must(q.Store(t.Context(), 1, af.Created(&created)))(t)
		want("Store", created, true)
		must(q.SubmitMany(t.Context(), []int{1, 2, 3}, af.Created(&created)))(t)
		want("SubmitMany", created, true)
		must(q.SubmitMany(t.Context(), []int{1}, af.TaskID("a"), af.Created(&created)))(t)
		want("SubmitMany of an id that exists", created, false)
		created = true
		must(q.SubmitMany(t.Context(), nil, af.Created(&created)))(t)
		want("SubmitMany of nothing", created, false)

		for _, opts := range [][]af.SubmitOption{{af.TaskID("b")}, {af.Weight(2000)}} {
			created = true
			if _, err := q.SubmitMany(t.Context(), []int{1, 2}, append(opts, af.Created(&created))...); err == nil {
				t.Error("not refused")
			}
			want("a refused submission", created, false)
		}
		_, err := q.Subtasks(t.Context(), "a", []int{1}, af.Created(&created))
		wantError(t, err, af.ErrInvalidArgument, af.OutcomeNotSent, "Created")
		must(q.Submit(t.Context(), 1, af.Created(nil)))(t)

		must(app.WaitTask(t.Context(), "a"))(t)
		retry := must(app.RetryTask(t.Context(), "a", af.Created(&created)))(t)
		want("a retry", created, true)
		if id := must(app.RetryTask(t.Context(), "a", af.Created(&created)))(t); id != retry {
			t.Errorf("retried by %s and %s", retry, id)
		}
		want("the retry again", created, false)
		created = true
		if _, err := app.RetryTask(t.Context(), "unknown", af.Created(&created)); err == nil || created {
			t.Errorf("a retry of nothing: %v, created %v", err, created)
		}
	})
}

// An Insert whose reply was lost is repeated. If it finds its own task, it has created it, and otherwise not.
func TestCreatedAfterLostReply(t *testing.T) {
	for name, opts := range map[string][]af.SubmitOption{
		"plain": nil, "id": {af.TaskID("a")}, "key": {af.UniqueKey("k")}, "both": {af.TaskID("a"), af.UniqueKey("k")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := memory.New()
				s := &lostReplies{}
				_, q := work(t, altered{b, func(p *backend.Ports) { s.Store = p.Store; p.Store = s }}, jobWorker, same)
				s.lost.Store(2)
				if _, created := asks(t, q)(opts...); !created {
					t.Error("found its own task")
				}
				if opts == nil {
					return
				}
				s.lost.Store(2)
				if _, created := asks(t, q)(append(opts, af.TaskID("a"))...); created == (name != "key") {
					t.Errorf("created %v", created)
				}
				// Another process inserts the task between the tries.
				_, other := work(t, b, jobWorker, same)
				later := af.RunAt(time.Now().Add(time.Hour))
				s.lost.Store(1)
				s.drop = func() { must(other.Submit(t.Context(), 1, af.TaskID("b"), af.UniqueKey("b"), later))(t) }
				id, created := asks(t, q)(af.UniqueKey("b"), later)
				if id != "b" || created {
					t.Errorf("created %v task %s", created, id)
				}
			})
		})
	}
}

func TestCreatedWithUnknownOutcome(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := &lostReplies{}
		app, q := work(t, altered{memory.New(), func(p *backend.Ports) { s.Store = p.Store; p.Store = s }}, jobWorker, same)
		s.lost.Store(1 << 30)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		created := true
		_, err := q.Submit(ctx, 1, af.Created(&created))
		if created || backend.Coded(err).Outcome != af.OutcomeUnknown {
			t.Errorf("created %v, %v", created, err)
		}
		s.lost.Store(0)
		must(app.GetTask(t.Context(), af.SubmittedID(err)))(t) // it was stored
		if _, created := asks(t, q)(af.TaskID(af.SubmittedID(err))); created {
			t.Error("created the task of the first try")
		}
		s.lost.Store(1)
		if must(app.WaitTask(t.Context(), af.SubmittedID(err)))(t).Status != af.StatusSuccess {
			t.Error("the task did not run")
		}
		must(app.RetryTask(t.Context(), af.SubmittedID(err), af.Created(&created)))(t)
		if !created {
			t.Error("a retry found its own task")
		}
	})
}

// lostReplies is a store whose next Inserts store their tasks and lose the reply. If drop is set, they call it instead
// of storing anything.
type lostReplies struct {
	backend.Store
	lost atomic.Int64
	drop func()
}

func (s *lostReplies) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	if s.lost.Add(-1) < 0 {
		return s.Store.Insert(ctx, tasks)
	}
	if s.drop != nil {
		s.drop()
	} else if _, err := s.Store.Insert(ctx, tasks); err != nil {
		return nil, err
	}
	return nil, backend.Errorf(backend.ErrUnavailable, "the reply was lost")
}

// Of concurrent submissions with one id, or one key, exactly one has created the task.
func TestCreatedOnceByConcurrentSubmissions(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, q := work(t, memory.Grouped(memory.New()), jobWorker, same)
		later := af.RunAt(time.Now().Add(time.Hour))
		for _, opt := range []af.SubmitOption{af.TaskID("a"), af.UniqueKey("k")} {
			var n atomic.Int64
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if _, created := asks(t, q)(opt, later); created {
						n.Add(1)
					}
				})
			}
			wg.Wait()
			if n.Load() != 1 {
				t.Errorf("%d submissions have created one task", n.Load())
			}
		}
	})
}
