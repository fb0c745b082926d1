package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// These tests check the rows of docs/faults.md that need no servers. Tests of random combinations are in
// internal/fault. The lease is 10 s, the default.

// process opens an App on its own fault.Backend: one process of several.
func process(
	t *testing.T, world *fault.World, plan fault.Plan, w af.Worker, run func(context.Context, int) (int, error),
) (*fault.Backend, af.Queue[int, int]) {
	t.Helper()
	b := fault.New(world, 1, plan)
	if run == nil {
		return b, af.NewQueue[int, int](openStarted(t, b), w)
	}
	_, q := work(t, b, w, run)
	return b, q
}

func TestRepeatedSubmitStoresOneTask(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		var runs atomic.Int32
		process(t, world, fault.Plan{}, jobWorker, func(context.Context, int) (int, error) { runs.Add(1); return 0, nil })
		b, q := process(t, world, fault.Plan{}, jobWorker, nil)
		b.SetPlan(fault.Plan{LoseReply: 1})
		if _, err := q.Submit(t.Context(), 1, af.TaskID("once")); !errors.Is(err, af.ErrUnavailable) {
			t.Errorf("Submit: %v", err)
		}
		b.SetPlan(fault.Plan{})
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 1, af.TaskID("once")))(t)))(t)
		if runs.Load() != 1 {
			t.Errorf("%d runs", runs.Load())
		}
	})
}

// If the submitter dies before it sends a hint, or the broker loses it, the dispatcher sends one.
func TestDispatcherSendsLostHints(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New(memory.HintIDs(4096)))
		_, workerQueue := process(t, world, fault.Plan{}, jobWorker,
			func(context.Context, int) (int, error) { return 0, nil })
		_, q := process(t, world, fault.Plan{LoseHint: 1}, jobWorker, nil)
		synctest.Wait() // the worker has polled, and does not poll again within 4 s
		begun := time.Now()
		must(workerQueue.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t)))(t)
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("hinted after %v", took)
		}
	})
}

func TestDuplicateHintsRunATaskOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New(memory.HintIDs(4096)))
		var runs atomic.Int32
		for range 3 {
			process(t, world, fault.Plan{}, jobWorker, func(context.Context, int) (int, error) { runs.Add(1); return 0, nil })
		}
		_, q := process(t, world, fault.Plan{RepeatHint: 1, ShuffleHint: 1}, jobWorker, nil)
		for _, id := range must(q.SubmitMany(t.Context(), make([]int, 100)))(t) {
			must(q.Wait(t.Context(), id))(t)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if runs.Load() != 100 {
			t.Errorf("%d runs", runs.Load())
		}
	})
}

// A task whose process is killed runs again elsewhere, within the lease, a heartbeat and a check of the failure
// detector.
func TestTasksOfADeadProcessRunElsewhere(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		begun := make(chan struct{})
		victim, q := process(t, world, fault.Plan{}, jobWorker, func(ctx context.Context, n int) (int, error) {
			close(begun)
			<-ctx.Done()
			return 0, ctx.Err()
		})
		id := must(q.Submit(t.Context(), 1))(t)
		<-begun
		victim.Crash()
		died := time.Now()
		var fence int64
		_, survivor := process(t, world, fault.Plan{}, jobWorker, func(ctx context.Context, n int) (int, error) {
			fence = af.TaskFrom(ctx).Fence
			return n, nil
		})
		must(survivor.Wait(t.Context(), id))(t)
		if took := time.Since(died); took > 22*time.Second {
			t.Errorf("running again after %v", took)
		}
		task := must(survivor.Get(t.Context(), id))(t)
		if fence != 2 || task.Crashes != 0 || task.Attempt != 1 {
			t.Errorf("fence %d, crashes %d, attempt %d", fence, task.Crashes, task.Attempt)
		}
	})
}

// If a process is paused for longer than its lease, its task runs elsewhere. When it resumes, its late results are
// discarded.
func TestPausedProcessStopsItsRunsWhenItResumes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		var cause error
		var once sync.Once
		begun := make(chan struct{})
		sleeper, q := process(t, world, fault.Plan{}, jobWorker, func(ctx context.Context, n int) (int, error) {
			first := false
			once.Do(func() { first = true; close(begun) })
			if !first {
				return 2, nil
			}
			<-ctx.Done()
			cause = context.Cause(ctx)
			return 1, nil
		})
		id := must(q.Submit(t.Context(), 1))(t)
		<-begun
		sleeper.Freeze()
		_, other := process(t, world, fault.Plan{}, jobWorker, func(context.Context, int) (int, error) { return 2, nil })
		if got := must(other.Wait(t.Context(), id))(t); got != 2 {
			t.Errorf("got %d", got)
		}
		sleeper.Thaw()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if !errors.Is(cause, af.ErrLeaseLost) {
			t.Errorf("the run on the paused process ended with %v", cause)
		}
		if got := must(other.Result(t.Context(), id))(t); got != 2 {
			t.Errorf("a late result was stored: %d", got)
		}
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t)))(t) // the process continues as a new owner
	})
}

// During an outage of the store shorter than a lease, results are kept and written later, no task runs twice, and
// Submit fails.
func TestShortOutageOfTheStoreLosesNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		var runs atomic.Int32
		_, q := process(t, world, fault.Plan{}, jobWorker, func(_ context.Context, n int) (int, error) {
			runs.Add(1)
			time.Sleep(2 * time.Second)
			return n, nil
		})
		id := must(q.Submit(t.Context(), 7))(t)
		synctest.Wait()
		world.Down(false)
		begun := time.Now()
		if _, err := q.Submit(t.Context(), 8); !errors.Is(err, af.ErrUnavailable) || time.Since(begun) > time.Second {
			t.Errorf("Submit during the outage: %v after %v", err, time.Since(begun))
		}
		time.Sleep(6 * time.Second)
		world.Up()
		if got := must(q.Wait(t.Context(), id))(t); got != 7 || runs.Load() != 1 {
			t.Errorf("got %d after %d runs", got, runs.Load())
		}
	})
}

// During a longer outage, runs are cancelled with a cause before other processes could claim their tasks, and no owner
// is declared dead.
func TestLongOutageStopsRunsAndExpiresNoOwner(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		var causes []error
		var mu sync.Mutex
		down := true
		run := func(ctx context.Context, n int) (int, error) {
			mu.Lock()
			wait := down
			mu.Unlock()
			if !wait {
				return n, nil
			}
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			causes = append(causes, context.Cause(ctx))
			return 0, ctx.Err()
		}
		_, q := process(t, world, fault.Plan{}, jobWorker, run)
		process(t, world, fault.Plan{}, jobWorker, run)
		ids := must(q.SubmitMany(t.Context(), []int{1, 2}))(t)
		synctest.Wait()
		world.Down(false)
		time.Sleep(60 * time.Second)
		synctest.Wait()
		mu.Lock()
		down = false
		if len(causes) != 2 || !errors.Is(causes[0], af.ErrLeaseLost) {
			t.Errorf("causes %v", causes)
		}
		mu.Unlock()
		world.Up()
		for i, id := range ids {
			if got := must(q.Wait(t.Context(), id))(t); got != i+1 {
				t.Errorf("got %d", got)
			}
			if task := must(q.Get(t.Context(), id))(t); task.Crashes != 0 || task.Attempt != 1 {
				t.Errorf("task %s: %d crashes, attempt %d", id, task.Crashes, task.Attempt)
			}
		}
	})
}

// A task that crashes every process fails in the end. Its attempts are not counted.
func TestPoisonTaskFailsAfterMaxCrashes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		_, q := process(t, world, fault.Plan{}, jobWorker, nil)
		id := must(q.Submit(t.Context(), 1))(t)
		for range 4 { // the first crash makes it suspected
			died := make(chan struct{})
			var victim *fault.Backend
			ready := make(chan struct{})
			victim, _ = process(t, world, fault.Plan{}, jobWorker, func(ctx context.Context, _ int) (int, error) {
				<-ready
				victim.Crash()
				close(died)
				<-ctx.Done()
				return 0, ctx.Err()
			})
			close(ready)
			<-died
			time.Sleep(15 * time.Second)
		}
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "processes died while running the task")
		if task := must(q.Get(t.Context(), id))(t); task.Status != backend.StatusFailed || task.Crashes != 3 ||
			task.Attempt != 0 {
			t.Errorf("%+v", task)
		}
	})
}

// A rolling restart with running tasks charges no attempts and loses no tasks.
func TestRollingRestartChargesNoAttempt(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		run := func(ctx context.Context, n int) (int, error) {
			select {
			case <-time.After(3 * time.Second):
				return n, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		_, q := work(t, world, jobWorker, run)
		client := af.NewQueue[int, int](openStarted(t, world), jobWorker)
		ids := must(client.SubmitMany(t.Context(), make([]int, 40)))(t)
		_ = q
		for range 5 {
			next, _ := work(t, world, jobWorker, run)
			time.Sleep(time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := next.Shutdown(ctx); err == nil {
				t.Error("no run was interrupted: the test has no effect")
			}
			cancel()
		}
		for _, id := range ids {
			must(client.Wait(t.Context(), id))(t)
			if task := must(client.Get(t.Context(), id))(t); task.Attempt != 1 || task.Crashes != 0 {
				t.Errorf("task %s: attempt %d, %d crashes", id, task.Attempt, task.Crashes)
			}
		}
	})
}

func TestFinishedTasksArePurged(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, q := work(t, memory.New(), jobWorker, same, af.Retention(time.Hour, 0))
		id := must(q.Submit(t.Context(), 1))(t)
		must(q.Wait(t.Context(), id))(t)
		time.Sleep(59 * time.Minute)
		must(q.Get(t.Context(), id))(t)
		time.Sleep(3 * time.Minute)
		if _, err := q.Get(t.Context(), id); !errors.Is(err, af.ErrNotFound) {
			t.Errorf("still there: %v", err)
		}
	})
}

// A source with ten thousand subtasks, inserted in several parts, is finished once.
func TestLargeFanOutFinishesOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Max = 100
		app := open(t, memory.New())
		child := w
		child.Name, child.Type = "child", "Child"
		var done []string
		af.RegisterWorker(app, child, &job{same})
		af.RegisterWorker(app, w, &fanJob{
			job{same},
			func(ctx context.Context, _ int, s af.Subtasks) error {
				read := 0
				for _, err := range s.All(ctx) {
					if err != nil {
						return err
					}
					read++
				}
				done = append(done, fmt.Sprint(s.Total, " ", s.Succeeded, " ", read))
				return nil
			},
		})
		start(t, app)
		source := must(af.NewQueue[int, int](app, w).Submit(t.Context(), 1))(t)
		must(af.NewQueue[int, int](app, child).Subtasks(t.Context(), source, make([]int, 10_000)))(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(done) != 1 || done[0] != "10000 10000 10000" {
			t.Errorf("SubtasksDone saw %q", done)
		}
	})
}
