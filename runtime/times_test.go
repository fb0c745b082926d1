package runtime_test

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// These tests use durations that programs may compute: negative ones, and very long ones.

func TestSnoozeIsNoBusyLoop(t *testing.T) {
	for name, c := range map[string]struct {
		d    time.Duration
		most int32 // runs in ten seconds
	}{
		"zero":     {0, 101},
		"negative": {math.MinInt64, 101},
		"longest":  {math.MaxInt64, 1},
		"far":      {time.Until(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)), 1},
		"century":  {150 * 365 * 24 * time.Hour, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var runs atomic.Int32
				_, q := work(t, memory.New(), jobWorker, func(context.Context, int) (int, error) {
					if runs.Add(1) > 1000 {
						return 0, af.Permanent(errors.New("this is a busy loop"))
					}
					return 0, af.Snooze(c.d)
				})
				id := must(q.Submit(t.Context(), 1))(t)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				task := must(q.Get(t.Context(), id))(t)
				if n := runs.Load(); n < 1 || n > c.most || task.Status != backend.StatusWaiting &&
					task.Status != backend.StatusPending {
					t.Errorf("%d runs, want at most %d; the task is %s, due %v", n, c.most, task.Status, task.RunAt)
				}
			})
		})
	}
}

func TestDelays(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begun, ran := time.Now(), map[int]time.Duration{}
		w := jobWorker
		w.Max = 1
		_, q := work(t, memory.New(), w, func(_ context.Context, n int) (int, error) {
			ran[n] = time.Since(begun)
			return n, nil
		})
		source := must(q.Submit(t.Context(), 0, af.Delay(0)))(t)
		must(q.Store(t.Context(), 1, af.Delay(time.Second)))(t)
		must(q.SubmitMany(t.Context(), []int{2, 3}, af.Delay(2*time.Second)))(t)
		must(q.Subtasks(t.Context(), source, []int{4}, af.Delay(3*time.Second)))(t)
		longest := must(q.Submit(t.Context(), 5, af.Delay(math.MaxInt64)))(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		for n, want := range []time.Duration{0, 1, 2, 2, 3} {
			if at, ok := ran[n]; !ok || at != want*time.Second {
				t.Errorf("%d ran at %v: %v, want %v", n, at, ok, want*time.Second)
			}
		}
		if task := must(q.Get(t.Context(), longest))(t); task.Status != af.StatusWaiting || task.RunAt.Year() != 2116 {
			t.Errorf("the task with the longest delay is %s, due %v", task.Status, task.RunAt)
		}
	})
}

func TestLongestBackoff(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Backoff, w.Retries = math.MaxInt64, 100
		var runs atomic.Int32
		_, q := work(t, memory.New(), w, func(context.Context, int) (int, error) {
			runs.Add(1)
			return 0, errors.New("no")
		})
		must(q.Submit(t.Context(), 1))(t)
		time.Sleep(time.Hour)
		if n := runs.Load(); n != 1 {
			t.Errorf("%d runs in an hour", n)
		}
	})
}

func TestNegativeTimeoutHasExpired(t *testing.T) {
	past := af.Timeout(-time.Second)
	never := func(ctx context.Context, _ int) (int, error) {
		t.Error("the handler runs")
		<-ctx.Done()
		return 0, ctx.Err()
	}
	t.Run("task", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			w := jobWorker
			w.Retries, w.Timeout = 1, time.Hour
			_, q := work(t, memory.New(), w, never)
			id := must(q.Submit(t.Context(), 1, past))(t)
			_, err := q.Wait(t.Context(), id)
			wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "timed out")
			if task := must(q.Get(t.Context(), id))(t); task.Attempt != 2 || task.Timeout != -time.Second {
				t.Errorf("%+v", task)
			}
		})
	})
	t.Run("job", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			app, q := work(t, memory.New(), jobWorker, never)
			if err := q.Schedule(t.Context(), "nightly", "@every 1h", 1, past); err != nil {
				t.Fatal(err)
			}
			_, err := q.Wait(t.Context(), must(app.RunJob(t.Context(), "nightly"))(t))
			wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "timed out")
		})
	})
	t.Run("call", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			app := serve(t, memory.New(), never)
			for _, context := range []func() (context.Context, context.CancelFunc){
				func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) },
				func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), time.Minute) },
			} {
				ctx, cancel := context()
				_, err := call(ctx, app, 1, past)
				wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeNotSent, "calc.Do")
				cancel()
			}
		})
	})
}
