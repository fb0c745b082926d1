package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// These tests check the gate of subtasks, the counts of their set, and SubtasksDone.

func TestOrderOfSourceSubtasksAndSubtasksDone(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		app := open(t, world)
		child := jobWorker
		child.Name, child.Type = "child", "Child"
		begun := time.Now()
		var events []string
		var mu sync.Mutex
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, fmt.Sprintf(format, args...))
		}
		children := af.NewQueue[int, int](app, child)
		af.RegisterWorker(app, child, &job{func(ctx context.Context, n int) (int, error) {
			if n == 2 {
				return 0, errors.New("two is unlucky")
			}
			note("child")
			return 10 * n, nil
		}})
		af.RegisterWorker(app, jobWorker, &fanJob{
			job{func(ctx context.Context, n int) (int, error) {
				ids := must(children.Subtasks(ctx, af.TaskFrom(ctx).ID, []int{1, 2, 3}))(t)
				time.Sleep(time.Second)
				note("source %d", len(ids))
				return n, nil
			}},
			func(ctx context.Context, n int, s af.Subtasks) error {
				sum := 0
				for task, err := range s.All(ctx) {
					if err != nil {
						return err
					}
					if task.Status == backend.StatusSuccess {
						sum += must(af.ResultOf[int](task))(t)
					}
				}
				note("done %d after %v: total %d, succeeded %d, failed %d, sum %d", n, time.Since(begun), s.Total, s.Succeeded,
					s.Failed, sum)
				return nil
			},
		})
		start(t, app)
		q := af.NewQueue[int, int](app, jobWorker)
		id := must(q.Submit(t.Context(), 7))(t)
		must(q.Wait(t.Context(), id))(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []string{"source 3", "child", "child", "done 7 after 1s: total 3, succeeded 2, failed 1, sum 40"}
		if !slices.Equal(events, want) {
			t.Errorf("events %q", events)
		}
		task := must(q.Get(t.Context(), id))(t)
		if task.Subtasks == nil || task.Subtasks.Total != 3 || task.Subtasks.Failed != 1 {
			t.Errorf("task %+v, subtasks %+v", task, task.Subtasks)
		}
		_, err := children.Subtasks(t.Context(), id, []int{4})
		wantError(t, err, af.ErrFailedPrecondition, af.OutcomeAnswered, "subtasks of")
	})
}

// During a rolling deploy, SubtasksDone may be claimed by a version of the worker without that method. It does not call
// Run instead.
func TestWorkerWithoutSubtasksDone(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		with := open(t, world)
		af.RegisterWorker(with, jobWorker, &fanJob{
			job{same},
			func(context.Context, int, af.Subtasks) error { t.Error("SubtasksDone ran"); return nil },
		})
		start(t, with)
		client := af.NewQueue[int, int](openStarted(t, world), jobWorker)
		id := must(client.Submit(t.Context(), 1))(t)
		must(client.Wait(t.Context(), id))(t)
		if err := with.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		must(client.Subtasks(t.Context(), id, nil))(t)
		work(t, world, jobWorker, func(context.Context, int) (int, error) { t.Error("Run ran again"); return 0, nil })
		time.Sleep(time.Minute)
		if task := must(client.Get(t.Context(), id+"/done"))(t); task.Status != backend.StatusSuccess || task.Result != nil {
			t.Errorf("%+v", task)
		}
	})
}

func TestFailedSourceStopsItsSubtasksAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, q := work(t, memory.New(), jobWorker, func(ctx context.Context, n int) (int, error) {
			if n == 0 {
				time.Sleep(time.Second)
				return 0, errors.New("the source fails")
			}
			<-ctx.Done() // a subtask by RunNow
			return 0, context.Cause(ctx)
		})
		source := must(q.Submit(t.Context(), 0))(t)
		ids := append(must(q.Subtasks(t.Context(), source, []int{1}, af.RunNow()))(t),
			must(q.Subtasks(t.Context(), source, []int{2}))(t)...)
		begun := time.Now()
		for _, id := range ids {
			_, err := q.Wait(t.Context(), id)
			wantError(t, err, af.ErrAborted, af.OutcomeAnswered, "")
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
		if s := must(q.Get(t.Context(), source))(t).Subtasks; s == nil || s.Stopped != 2 {
			t.Errorf("subtasks: %+v", s)
		}
	})
}

func TestFailFastStopsTheSiblings(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, q := work(t, memory.New(), jobWorker, func(ctx context.Context, n int) (int, error) {
			switch n {
			case 1:
				return 0, errors.New("first")
			case 2:
				<-ctx.Done()
				return 0, context.Cause(ctx)
			}
			return 0, nil
		})
		source := must(q.Submit(t.Context(), 0))(t)
		must(q.Wait(t.Context(), source))(t)
		begun := time.Now()
		ids := must(q.Subtasks(t.Context(), source, []int{2, 2, 1, 2, 2, 2, 2}, af.OnFailure(af.FailFast)))(t)
		statuses := map[backend.Status]int{}
		for _, id := range ids {
			_, err := q.Wait(t.Context(), id)
			if err == nil {
				t.Errorf("%s succeeded", id)
			}
			statuses[must(q.Get(t.Context(), id))(t).Status]++
		}
		if statuses[backend.StatusFailed] != 1 || statuses[backend.StatusStopped] != 6 || time.Since(begun) != 0 {
			t.Errorf("statuses %v after %v", statuses, time.Since(begun))
		}
	})
}

func TestCountedFailuresStopNoSiblings(t *testing.T) {
	for _, policy := range []af.FailurePolicy{"", af.IgnoreFailures, af.CollectFailures} {
		bubble.Test(t, func(t *testing.T) {
			_, q := work(t, memory.New(), jobWorker, func(ctx context.Context, n int) (int, error) {
				if n == 1 {
					return 0, errors.New("first")
				}
				time.Sleep(time.Second)
				return n, ctx.Err()
			})
			source := must(q.Submit(t.Context(), 0))(t)
			must(q.Wait(t.Context(), source))(t)
			for _, id := range must(q.Subtasks(t.Context(), source, []int{2, 1, 2, 2, 2, 2, 2}, af.OnFailure(policy)))(t) {
				_, _ = q.Wait(t.Context(), id)
			}
			synctest.Wait()
			if s := must(q.Get(t.Context(), source))(t).Subtasks; s == nil || s.Succeeded != 6 || s.Failed != 1 {
				t.Errorf("policy %q: %+v", policy, s)
			}
		})
	}
}

// A handler that runs again submits no subtask twice, whether it names its batches or not. Subtasks that other handlers
// submit are separate.
func TestHandlerThatRunsAgainDuplicatesNoSubtasks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Retries = 1
		var q af.Queue[int, int]
		var source string
		_, q = work(t, memory.New(), w, func(ctx context.Context, n int) (int, error) {
			r := af.TaskFrom(ctx)
			switch n {
			case 1: // the source: two unnamed batches, and one whose key resembles the first
				must(q.Subtasks(ctx, r.ID, []int{0, 0}))(t)
				must(q.Subtasks(ctx, r.ID, []int{0}))(t)
				must(q.Subtasks(ctx, r.ID, []int{0}, af.Batch("1")))(t)
				if r.Attempt == 1 {
					return 0, errors.New("once more")
				}
			case 2: // another task's handler
				must(q.Subtasks(ctx, source, []int{0}))(t)
			}
			return n, nil
		})
		source = must(q.Submit(t.Context(), 1, af.TaskID("source"), af.RunAt(time.Now().Add(time.Minute))))(t)
		for range 2 {
			must(q.Wait(t.Context(), must(q.Submit(t.Context(), 2))(t)))(t)
		}
		first := must(q.Subtasks(t.Context(), source, []int{0}, af.Batch("mine")))(t)
		if again := must(q.Subtasks(t.Context(), source, []int{0}, af.Batch("mine")))(t); !slices.Equal(again, first) {
			t.Errorf("ids %v, and again %v", first, again)
		}
		must(q.Wait(t.Context(), source))(t)
		time.Sleep(time.Minute)
		if s := must(q.Get(t.Context(), source))(t).Subtasks; s == nil || s.Total != 4+2+1 || s.Succeeded != s.Total {
			t.Errorf("subtasks: %+v", s)
		}
	})
}

// SubtasksDone reads its source. If the store is unavailable, that is not a failure of the worker.
func TestSubtasksDoneWaitsForTheStore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		b := fault.New(world, 1, fault.Plan{})
		app := open(t, b)
		var totals []int
		af.RegisterWorker(app, jobWorker, &fanJob{
			job{same},
			func(_ context.Context, _ int, s af.Subtasks) error { totals = append(totals, s.Total); return nil },
		})
		start(t, app)
		_, q := process(t, world, fault.Plan{}, jobWorker, nil)
		id := must(q.Submit(t.Context(), 1))(t)
		must(q.Wait(t.Context(), id))(t)
		b.Fail("Get", 3, fault.Refused)
		must(q.Subtasks(t.Context(), id, []int{1, 2}))(t)
		time.Sleep(time.Minute)
		task := must(q.Get(t.Context(), id+"/done"))(t)
		if task.Status != backend.StatusSuccess || task.Attempt != 1 || task.Fence != 2 || !slices.Equal(totals, []int{2}) {
			t.Errorf("totals %v, task %+v", totals, task)
		}
	})
}

// hasty is a backend whose sweeper considers the first batch abandoned just before it is committed.
func hasty(b af.Backend) af.Backend {
	return altered{b, func(p *backend.Ports) { p.Store = hastyStore{p.Store, new(sync.Once)} }}
}

type hastyStore struct {
	backend.Store
	once *sync.Once
}

func (h hastyStore) Spawn(ctx context.Context, s backend.Spawn) (err error) {
	h.once.Do(func() { err = h.Store.Discard(ctx, s.Source, s.Batch) })
	if err != nil {
		return err
	}
	return h.Store.Spawn(ctx, s)
}

func TestBatchDiscardedTooEarlyIsStoredAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, q := work(t, hasty(memory.New()), jobWorker, same)
		source := must(q.Submit(t.Context(), 0))(t)
		for i, id := range must(q.Subtasks(t.Context(), source, []int{1, 2}))(t) {
			if got := must(q.Wait(t.Context(), id))(t); got != i+1 {
				t.Errorf("got %d", got)
			}
		}
	})
}

// The failure of an attempt that has lost its claim has no consequences: the task has not failed, and its siblings keep
// running.
func TestFailureAfterLostClaimStopsNoSiblings(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var store backend.Store
		b := altered{memory.New(), func(p *backend.Ports) { store = p.Store }}
		_, q := work(t, b, jobWorker, func(ctx context.Context, n int) (int, error) {
			if r := af.TaskFrom(ctx); n == 1 && r.Fence == 1 {
				must(store.Settle(ctx, []backend.Settle{{ID: r.ID, Fence: r.Fence, To: backend.StatusWaiting}}))(t)
				return 0, errors.New("void")
			}
			time.Sleep(time.Second)
			return n, ctx.Err()
		})
		source := must(q.Submit(t.Context(), 0))(t)
		must(q.Wait(t.Context(), source))(t)
		for _, id := range must(q.Subtasks(t.Context(), source, []int{1, 2, 2}, af.OnFailure(af.FailFast)))(t) {
			if _, err := q.Wait(t.Context(), id); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	})
}
