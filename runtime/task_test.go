package runtime_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// job is a worker registered like generated code. run is the body of its handler.
type job struct {
	run func(ctx context.Context, n int) (int, error)
}

func (j *job) Run(ctx context.Context, n int) (int, error) { return j.run(ctx, n) }

// fanJob also has SubtasksDone.
type fanJob struct {
	job
	done func(ctx context.Context, n int, s af.Subtasks) error
}

func (j *fanJob) SubtasksDone(ctx context.Context, n int, s af.Subtasks) error {
	return j.done(ctx, n, s)
}

// same is a handler that returns its payload.
func same(_ context.Context, n int) (int, error) { return n, nil }

// hang is a handler that sends to begun and blocks until its context ends.
func hang(begun chan<- struct{}) func(context.Context, int) (int, error) {
	return func(ctx context.Context, _ int) (int, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return 0, ctx.Err()
	}
}

var jobWorker = af.Worker{Name: "job", Type: "Job", Max: 4, Backoff: time.Second, Weight: 1}

// work starts an App with one worker and returns its queue.
func work(t *testing.T, b af.Backend, w af.Worker, run func(context.Context, int) (int, error),
	opts ...af.AppOption) (*af.App, af.Queue[int, int]) {
	t.Helper()
	app := open(t, b, opts...)
	af.RegisterWorker(app, w, &job{run})
	start(t, app)
	return app, af.NewQueue[int, int](app, w)
}

// must returns the value of a call that must not fail: must(q.Submit(ctx, 1))(t).
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestTaskRunsOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		_, q := work(t, memory.New(), jobWorker, func(_ context.Context, n int) (int, error) {
			runs.Add(1)
			return 2 * n, nil
		})
		begun := time.Now()
		id := must(q.Submit(t.Context(), 21))(t)
		got := must(q.Wait(t.Context(), id))(t)
		if took := time.Since(begun); got != 42 || took != 0 {
			t.Errorf("got %d after %v", got, took)
		}
		if again := must(q.Result(t.Context(), id))(t); again != 42 {
			t.Errorf("result %d", again)
		}
		time.Sleep(time.Minute)
		task := must(q.Get(t.Context(), id))(t)
		if runs.Load() != 1 || task.Status != backend.StatusSuccess || task.Attempt != 1 || task.Fence != 1 {
			t.Errorf("%d runs, task %+v", runs.Load(), task)
		}
		if r, err := af.ResultOf[int](task); r != 42 || err != nil {
			t.Errorf("ResultOf: %d, %v", r, err)
		}
	})
}

func TestTasksRunByWeightThenAge(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var order []int
		one := jobWorker
		one.Max = 1
		app := open(t, memory.New())
		af.RegisterWorker(app, one, &job{func(_ context.Context, n int) (int, error) {
			order = append(order, n)
			time.Sleep(time.Second)
			return 0, nil
		}})
		start(t, app)
		q := af.NewQueue[int, int](app, one)
		must(q.Submit(t.Context(), 0))(t)
		synctest.Wait() // the first task is running, the others wait for its slot
		for i, w := range []int{1, 5, 1, -3, 5} {
			must(q.Store(t.Context(), i+1, af.Weight(w)))(t)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []int{0, 2, 5, 1, 3, 4}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	})
}

func TestStopBeatsSuccess(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		var cause error
		_, q := work(t, world, jobWorker, func(ctx context.Context, n int) (int, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return n, nil // ignores the stop
		})
		elsewhere := openStarted(t, world)
		running := must(q.Submit(t.Context(), 1))(t)
		waiting := must(q.Submit(t.Context(), 2, af.RunAt(time.Now().Add(time.Hour))))(t)
		synctest.Wait()
		if status := must(q.Get(t.Context(), waiting))(t).Status; status != backend.StatusWaiting {
			t.Errorf("a task that is not due is %s", status)
		}
		begun := time.Now()
		for _, id := range []string{running, waiting} {
			if err := elsewhere.StopTask(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			_, err := q.Wait(t.Context(), id)
			wantError(t, err, af.ErrAborted, af.OutcomeAnswered, "stopped")
		}
		if !errors.Is(cause, af.ErrTaskStopped) || time.Since(begun) != 0 {
			t.Errorf("cause %v after %v", cause, time.Since(begun))
		}
		if err := elsewhere.StopTask(t.Context(), running); err != nil {
			t.Errorf("stopping again: %v", err)
		}
		if err := elsewhere.StopTask(t.Context(), "nosuch"); !errors.Is(err, af.ErrNotFound) {
			t.Errorf("stopping an unknown task: %v", err)
		}
	})
}

func TestRepeatedSubmissions(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		release := make(chan struct{})
		_, q := work(t, memory.New(), jobWorker, func(context.Context, int) (int, error) {
			runs.Add(1)
			<-release
			return 0, nil
		})
		for range 3 {
			if id := must(q.Submit(t.Context(), 1, af.TaskID("mine")))(t); id != "mine" {
				t.Errorf("id %q", id)
			}
		}
		first := must(q.Submit(t.Context(), 1, af.UniqueKey("k")))(t)
		if again := must(q.Submit(t.Context(), 1, af.UniqueKey("k")))(t); again != first {
			t.Errorf("the live task of the key is %s, and got %s", first, again)
		}
		close(release)
		for _, id := range []string{"mine", first} {
			must(q.Wait(t.Context(), id))(t)
		}
		if id := must(q.Submit(t.Context(), 1, af.TaskID("mine")))(t); id != "mine" {
			t.Errorf("id %q", id)
		}
		if third := must(q.Submit(t.Context(), 1, af.UniqueKey("k")))(t); third == first {
			t.Error("the key is still in use")
		} else {
			must(q.Wait(t.Context(), third))(t)
		}
		if runs.Load() != 3 {
			t.Errorf("%d runs", runs.Load())
		}
	})
}

func TestInvalidSubmissionsAreRejected(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := openStarted(t, memory.New())
		q := af.NewQueue[int, int](app, jobWorker)
		long := strings.Repeat("x", 256)
		for text, submit := range map[string]func() error{
			"TaskID is 256 bytes":       func() error { return errorOf(q.Submit(t.Context(), 1, af.TaskID(long))) },
			"UniqueKey is 256 bytes":    func() error { return errorOf(q.Submit(t.Context(), 1, af.UniqueKey(long))) },
			"SubtasksDone":              func() error { return errorOf(q.Submit(t.Context(), 1, af.TaskID("x/done"))) },
			"one payload, not 2":        func() error { return errorOf(q.SubmitMany(t.Context(), []int{1, 2}, af.TaskID("x"))) },
			"unknown failure policy":    func() error { return errorOf(q.Subtasks(t.Context(), "x", nil, af.OnFailure("?"))) },
			"id of the source is empty": func() error { return errorOf(q.Subtasks(t.Context(), "", []int{1})) },
			"delay -1s is negative":     func() error { return errorOf(q.Submit(t.Context(), 1, af.Delay(-time.Second))) },
			"can't be combined": func() error {
				return errorOf(q.Submit(t.Context(), 1, af.Delay(time.Second), af.RunAt(time.Now())))
			},
			"the delay -1ns":       func() error { return errorOf(q.Subtasks(t.Context(), "x", []int{1}, af.Delay(-1))) },
			"TaskID and UniqueKey": func() error { return errorOf(q.Subtasks(t.Context(), "x", nil, af.UniqueKey("k"))) },
		} {
			wantError(t, submit(), af.ErrInvalidArgument, af.OutcomeNotSent, text)
		}
		_, err := q.Subtasks(t.Context(), "nosuch", []int{1})
		wantError(t, err, af.ErrNotFound, af.OutcomeUnknown, "subtasks of nosuch")
		bytes := af.NewQueue[string, int](app, jobWorker)
		_, err = bytes.Submit(t.Context(), strings.Repeat("x", 4<<20))
		wantError(t, err, af.ErrResourceExhausted, af.OutcomeNotSent, "at most 4194304")
	})
}

func TestDueTimesAndDeadlines(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		begun := time.Now()
		var at time.Duration
		w := jobWorker
		w.Max = 1
		_, q := work(t, world, w, func(_ context.Context, n int) (int, error) {
			at = time.Since(begun)
			time.Sleep(time.Duration(n) * time.Second)
			return 0, nil
		})
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 0, af.RunAt(begun.Add(42*time.Second))))(t)))(t)
		if at != 42*time.Second {
			t.Errorf("ran at %v", at)
		}
		long := must(q.Submit(t.Context(), 60))(t)
		late := must(q.Submit(t.Context(), 0, af.Deadline(time.Now().Add(10*time.Second))))(t)
		_, err := q.Wait(t.Context(), late)
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "deadline")
		if took := time.Since(begun); took != 52*time.Second {
			t.Errorf("noticed after %v", took)
		}
		must(q.Wait(t.Context(), long))(t)
	})
}

// Deadlines are enforced for a queue that never had a worker, while the submitter waits on another instance.
func TestDeadlinesWithoutWorker(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := open(t, memory.New())
		start(t, app)
		q := af.NewQueue[int, int](app, jobWorker)
		source := must(q.Store(t.Context(), 1, af.Deadline(time.Now().Add(time.Minute))))(t)
		child := must(q.Subtasks(t.Context(), source, []int{2}))(t)[0]
		other := must(q.Store(t.Context(), 1))(t)
		begun := time.Now()
		_, err := q.Wait(t.Context(), source)
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "deadline")
		if took := time.Since(begun); took < time.Minute || took > time.Minute+15*time.Second {
			t.Errorf("failed after %v", took)
		}
		if _, err := q.Wait(t.Context(), child); !errors.Is(err, af.ErrAborted) {
			t.Errorf("the subtask: %v", err)
		}
		if task := must(q.Get(t.Context(), other))(t); task.Status != af.StatusWaiting {
			t.Errorf("the task without a deadline is %s", task.Status)
		}
	})
}

func TestMaxLimitsConcurrency(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		_, q := work(t, memory.New(), jobWorker, func(context.Context, int) (int, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			time.Sleep(time.Second)
			return 0, nil
		})
		begun := time.Now()
		ids := must(q.SubmitMany(t.Context(), make([]int, 20)))(t)
		for _, id := range ids {
			must(q.Wait(t.Context(), id))(t)
		}
		if most.Load() != 4 || time.Since(begun) != 5*time.Second {
			t.Errorf("%d at once, %v in all", most.Load(), time.Since(begun))
		}
	})
}

// Tasks without hints that name them, and tasks that end without having run, are still handled without a poll.
func TestTasksNeedNoPoll(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := open(t, memory.New())
		var done time.Duration
		begun := time.Now()
		af.RegisterWorker(app, jobWorker, &fanJob{
			job{same},
			func(context.Context, int, af.Subtasks) error { done = time.Since(begun); return nil },
		})
		start(t, app)
		q := af.NewQueue[int, int](app, jobWorker)
		time.Sleep(1700 * time.Millisecond)
		begun = time.Now()
		stored := must(q.Store(t.Context(), 1))(t)
		must(q.Wait(t.Context(), stored))(t)
		must(q.Subtasks(t.Context(), stored, nil))(t) // an empty batch, which no subtask finishes
		later := must(q.Submit(t.Context(), 2, af.RunAt(begun.Add(time.Hour))))(t)
		failed := make(chan error, 1)
		go func() {
			_, err := q.Wait(t.Context(), later)
			failed <- err
		}()
		synctest.Wait()
		if err := app.StopTask(t.Context(), later); err != nil {
			t.Error(err)
		}
		wantError(t, <-failed, af.ErrAborted, af.OutcomeAnswered, "stopped")
		synctest.Wait()
		if took := time.Since(begun); took != 0 || done != 0 {
			t.Errorf("took %v, SubtasksDone ran after %v", took, done)
		}
		if must(q.Get(t.Context(), stored+"/done"))(t).Status != backend.StatusSuccess {
			t.Error("SubtasksDone has not run")
		}
	})
}

func TestProgressIsVisibleToOthers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		_, q := work(t, memory.New(), jobWorker, func(ctx context.Context, _ int) (int, error) {
			<-release
			return 0, af.TaskFrom(ctx).Progress(ctx, map[string]int{"percent": 50})
		})
		id := must(q.Submit(t.Context(), 1))(t)
		close(release)
		must(q.Wait(t.Context(), id))(t)
		if task := must(q.Get(t.Context(), id))(t); string(task.Progress) != `{"percent":50}` {
			t.Errorf("progress %s", task.Progress)
		}
	})
}

func TestRequireWorker(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, same)
		time.Sleep(time.Minute) // longer than an announcement is valid
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 1, af.RequireWorker()))(t)))(t)
		idle := af.NewQueue[int, int](app, af.Worker{Name: "idle"})
		_, err := idle.Submit(t.Context(), 1, af.RequireWorker())
		wantError(t, err, af.ErrFailedPrecondition, af.OutcomeNotSent, "no worker")
		must(idle.Submit(t.Context(), 1))(t) // without RequireWorker, the task waits for a worker
	})
}

func TestCancelledWaitDoesNotStopTheTask(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, q := work(t, memory.New(), jobWorker, func(_ context.Context, n int) (int, error) {
			time.Sleep(time.Minute)
			return n, nil
		})
		id := must(q.Submit(t.Context(), 1))(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := q.Wait(ctx, id)
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeUnknown, "wait for task")
		_, err = q.Result(t.Context(), id)
		wantError(t, err, af.ErrFailedPrecondition, af.OutcomeUnknown, "is running")
		_, err = q.Wait(t.Context(), "nosuch")
		wantError(t, err, af.ErrNotFound, af.OutcomeUnknown, "nosuch")
		must(q.Wait(t.Context(), id))(t)
	})
}

// In a bubble, time advances only when all goroutines are blocked, so any lost wake-up shows as virtual time.
func TestNoTaskWaitsForAPoll(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Max = 100
		var done sync.WaitGroup
		_, q := work(t, memory.New(), w, func(_ context.Context, n int) (int, error) {
			done.Done()
			return n, nil
		})
		begun := time.Now()
		const tasks, submitters = 20_000, 8
		done.Add(tasks)
		var wg sync.WaitGroup
		for range submitters {
			wg.Go(func() {
				for range tasks / submitters {
					if _, err := q.Submit(t.Context(), 1); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		done.Wait()
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %v of virtual time", took)
		}
	})
}
