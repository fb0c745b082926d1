package runtime_test

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Settings out of range are refused, by Start or by Open, with the name of the worker.
func TestWorkerSettingsOutOfRangeAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		option af.WorkerOption
		want   string
	}{
		"max":         {af.Max(0), "max 0 out of range [1, 10000]"},
		"max_high":    {af.Max(10_001), "max 10001 out of range"},
		"retries":     {af.Retries(-1), "retries -1 out of range [0, 1000]"},
		"timeout":     {af.Timeout(-time.Second), "timeout -1s out of range [0s, 720h0m0s]"},
		"backoff":     {af.Backoff(0, 0), "backoff 0s out of range [1ns, 24h0m0s]"},
		"backoff_max": {af.Backoff(2, 1), "backoff max 1ns is less than the backoff 2ns"},
	} {
		t.Run(name, func(t *testing.T) {
			app := open(t, memory.New())
			af.RegisterWorker(app, jobWorker, &job{}, tt.option)
			err := app.Start(t.Context())
			if !errors.Is(err, af.ErrInvalidArgument) || !strings.Contains(err.Error(), "RegisterJob: "+tt.want) {
				t.Errorf("Start: %v", err)
			}
			_, err = af.Open(t.Context(), memory.New(), af.ConfigureWorker("job", tt.option))
			if !errors.Is(err, af.ErrInvalidArgument) || !strings.Contains(err.Error(), `queue "job": `+tt.want) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

// Settings of a queue without a worker are logged, with the queues that have one. A program without workers is silent.
func TestSettingsOfUnknownWorkers(t *testing.T) {
	for _, registers := range []bool{true, false} {
		bubble.Test(t, func(t *testing.T) {
			var lines log
			app := open(t, memory.New(), lines.option(), af.ConfigureWorker("jop", af.Max(1)),
				af.ConfigureWorker("job", af.Max(1)))
			if registers {
				af.RegisterWorker(app, jobWorker, &job{})
			}
			start(t, app)
			const message = "settings of workers ignored: this program has no workers of these queues"
			if !registers {
				if strings.Contains(lines.String(), message) {
					t.Errorf("logged %s", &lines)
				}
				return
			}
			r := lines.record(t, message)
			if fmt.Sprint(r["queues"]) != "[jop]" || fmt.Sprint(r["workers"]) != "[job]" {
				t.Errorf("logged %v", r)
			}
		})
	}
}

// A stored limit overrides the maximum of all layers.
func TestStoredLimitOverridesMax(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := open(t, memory.New(), af.ConfigureWorker("job", af.Max(3)))
		af.RegisterWorker(app, jobWorker, &job{}, af.Max(4))
		start(t, app)
		wantSlots := func(want int) {
			t.Helper()
			time.Sleep(10 * time.Second) // until it is announced
			page, err := app.Workers(t.Context(), af.WorkerQuery{})
			if err != nil || len(page.Workers) != 1 || page.Workers[0].Applied != want {
				t.Errorf("workers %+v, %v; want %d slots", page.Workers, err, want)
			}
		}
		wantSlots(3)
		if err := app.UpdateMaxWorkers(t.Context(), "job", "", 2); err != nil {
			t.Fatal(err)
		}
		wantSlots(2)
		if err := app.ResetMaxWorkers(t.Context(), "job", ""); err != nil {
			t.Fatal(err)
		}
		wantSlots(3)
	})
}

// A selfPaced worker chooses the delays of its retries.
type selfPaced struct {
	job
	backoff func(attempt int, err error) time.Duration
}

func (s *selfPaced) Backoff(attempt int, err error) time.Duration { return s.backoff(attempt, err) }

var errBusy = errors.New("busy")

// delays returns the delays between the attempts of a task that always fails.
func delays(t *testing.T, backoff func(int, error) time.Duration, fail func(context.Context) error,
	opts ...af.WorkerOption,
) (all []time.Duration, status af.Status) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		var last time.Time
		s := &selfPaced{backoff: backoff}
		s.run = func(ctx context.Context, _ int) (int, error) {
			if !last.IsZero() {
				all = append(all, time.Since(last).Round(time.Millisecond))
			}
			defer func() { last = time.Now() }()
			return 0, fail(ctx)
		}
		app := open(t, memory.New())
		af.RegisterWorker(app, jobWorker, s, opts...)
		start(t, app)
		q := af.NewQueue[int, int](app, jobWorker)
		id := must(q.Submit(t.Context(), 1))(t)
		_, _ = q.Wait(t.Context(), id)
		status = must(q.Get(t.Context(), id))(t).Status
	})
	return all, status
}

// The worker's method Backoff decides. It sees the number of the attempt and the error itself, and is not called for
// the last attempt.
func TestWorkerChoosesDelays(t *testing.T) {
	var seen []int
	got, status := delays(t, func(attempt int, err error) time.Duration {
		if !errors.Is(err, errBusy) {
			t.Errorf("Backoff got the error %v", err)
		}
		seen = append(seen, attempt)
		return time.Duration(attempt) * time.Hour
	}, func(context.Context) error { return fmt.Errorf("server: %w", errBusy) }, af.Retries(3))
	if want := []time.Duration{time.Hour, 2 * time.Hour, 3 * time.Hour}; !slices.Equal(got, want) {
		t.Errorf("delays %v, want %v", got, want)
	}
	if !slices.Equal(seen, []int{1, 2, 3}) || status != af.StatusFailed {
		t.Errorf("called for attempts %v, task is %s", seen, status)
	}
}

// If Backoff returns 0 or less, panics or ends its goroutine, the worker's backoff applies, and the task continues.
func TestBackoffThatChoosesNothing(t *testing.T) {
	for name, backoff := range map[string]func(int, error) time.Duration{
		"zero":     func(int, error) time.Duration { return 0 },
		"negative": func(int, error) time.Duration { return -time.Hour },
		"panic":    func(int, error) time.Duration { panic("no idea") },
		"goexit":   func(int, error) time.Duration { goruntime.Goexit(); return time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			got, status := delays(t, backoff, func(context.Context) error { return errBusy }, af.Retries(2),
				af.Backoff(10*time.Minute, 0))
			if len(got) != 2 || status != af.StatusFailed {
				t.Fatalf("delays %v, task is %s", got, status)
			}
			for _, d := range got {
				if d < 8*time.Minute || d > 12*time.Minute+time.Second {
					t.Errorf("delays %v, want 10 min ± 20 %%", got)
				}
			}
		})
	}
}

// A panic of Run is retried after the delay of Backoff. Snoozes and permanent errors are not its concern.
func TestBackoffByKindOfError(t *testing.T) {
	calls := 0
	backoff := func(_ int, err error) time.Duration {
		if calls++; af.CodeOf(err) != af.ErrInternal {
			t.Errorf("Backoff got %v", err)
		}
		return time.Hour
	}
	n := 0
	got, status := delays(t, backoff, func(context.Context) error {
		switch n++; n {
		case 1:
			panic("!")
		case 2:
			return af.Snooze(time.Minute)
		}
		return af.Permanent(errBusy)
	}, af.Retries(5))
	if want := []time.Duration{time.Hour, time.Minute}; !slices.Equal(got, want) || status != af.StatusFailed || calls != 1 {
		t.Errorf("delays %v, want %v; task is %s; %d calls", got, want, status, calls)
	}
}

// Backoff is not called for a handler that was abandoned, also when it returns.
func TestBackoffOfAbandonedHandler(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := &selfPaced{backoff: func(_ int, err error) time.Duration {
			t.Errorf("Backoff got %v", err)
			return time.Hour
		}}
		s.run = func(context.Context, int) (int, error) {
			time.Sleep(time.Minute)
			return 0, errBusy
		}
		app := open(t, memory.New())
		af.RegisterWorker(app, jobWorker, s, af.Retries(1), af.Timeout(time.Second))
		start(t, app)
		q := af.NewQueue[int, int](app, jobWorker)
		_, err := q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t))
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "did not return after its context ended")
		time.Sleep(2 * time.Minute)
	})
}

// The delay doubles up to the maximum.
func TestBackoffMaximum(t *testing.T) {
	got, _ := delays(t, func(int, error) time.Duration { return 0 }, func(context.Context) error { return errBusy },
		af.Retries(12), af.Backoff(time.Second, time.Minute))
	if len(got) != 12 {
		t.Fatal(got)
	}
	for i, d := range got {
		want := min(time.Second<<i, time.Minute)
		if d < want*8/10 || d > want*12/10+100*time.Millisecond {
			t.Errorf("delay %d is %v, want %v ± 20 %%", i+1, d, want)
		}
	}
}
