package runtime_test

import (
	"context"
	"errors"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

func TestFailuresAreRetriedWithBackoff(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Retries = 3
		var at []time.Duration
		begun := time.Now()
		_, q := work(t, memory.New(), w, func(ctx context.Context, n int) (int, error) {
			at = append(at, time.Since(begun))
			if r := af.TaskFrom(ctx); r.Attempt != len(at) || int(r.Fence) != len(at) {
				t.Errorf("attempt %d, fence %d at run %d", r.Attempt, r.Fence, len(at))
			}
			return 0, af.NewError(af.ErrNotFound, "no such picture")
		})
		id := must(q.Submit(t.Context(), 1))(t)
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrNotFound, af.OutcomeAnswered, "no such picture")
		if len(at) != 4 {
			t.Fatalf("ran at %v", at)
		}
		for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			if pause := at[i+1] - at[i]; pause < want*8/10 || pause > want*12/10 {
				t.Errorf("pause %d is %v, want %v ± 20 %%", i, pause, want)
			}
		}
		task := must(q.Get(t.Context(), id))(t)
		if task.Status != backend.StatusFailed || task.Attempt != 4 || task.Error == nil ||
			task.Error.Code != af.ErrNotFound {
			t.Errorf("task %+v", task)
		}
	})
}

func TestBackoffIsLimited(t *testing.T) {
	for base, most := range map[time.Duration]time.Duration{time.Minute: 5 * time.Minute,
		10 * time.Minute: 10 * time.Minute} {
		bubble.Test(t, func(t *testing.T) {
			w := jobWorker
			w.Retries, w.Backoff = 6, base
			var at []time.Time
			_, q := work(t, memory.New(), w, func(context.Context, int) (int, error) {
				at = append(at, time.Now())
				return 0, errors.New("no")
			})
			_, err := q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t))
			wantError(t, err, af.ErrUnknown, af.OutcomeAnswered, "no")
			for i := 4; i < len(at); i++ {
				if pause := at[i].Sub(at[i-1]); pause < most*8/10 || pause > most*12/10 {
					t.Errorf("pause %d is %v, want %v ± 20 %%", i, pause, most)
				}
			}
		})
	}
}

func TestPermanentErrorsPanicsAndSnoozes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Retries = 2
		runs := map[int]int{}
		var mu sync.Mutex
		var lines log
		var begun time.Time // to snooze
		_, q := work(t, memory.New(), w, func(ctx context.Context, n int) (int, error) {
			mu.Lock()
			runs[n]++
			run := runs[n]
			mu.Unlock()
			switch n {
			case 1:
				return 0, af.Permanent(af.NewError(af.ErrOutOfRange, "never"))
			case 2:
				if run == 1 {
					panicked("the value")
				}
			case 3:
				if run == 1 {
					goruntime.Goexit()
				}
			case 4:
				if run == 1 {
					begun = time.Now()
				}
				if run < 6 {
					return 0, af.Snooze(time.Minute)
				}
				if took := time.Since(begun); took != 5*time.Minute {
					t.Errorf("snoozed for %v", took)
				}
				if a := af.TaskFrom(ctx).Attempt; a != 1 {
					t.Errorf("snoozing charged an attempt: %d", a)
				}
			}
			return run, nil
		}, lines.option())
		for n, want := range map[int]int{1: 0, 2: 2, 3: 2, 4: 6} {
			got, err := q.Wait(t.Context(), must(q.Submit(t.Context(), n))(t))
			if n == 1 {
				wantError(t, err, af.ErrOutOfRange, af.OutcomeAnswered, "never")
			} else if got != want || err != nil {
				t.Errorf("task %d: %d, %v", n, got, err)
			}
		}
		if runs[1] != 1 {
			t.Errorf("a permanent error was retried %d times", runs[1]-1)
		}
		wantPanic(t, &lines, "panic in a worker", "the value")
	})
}

func TestUndecodablePayloadFailsWithoutRetry(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Retries = 5
		app, q := work(t, memory.New(), w, func(context.Context, int) (int, error) { t.Error("it ran"); return 0, nil })
		id := must(af.NewQueue[string, int](app, w).Submit(t.Context(), "no number"))(t)
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrInvalidArgument, af.OutcomeAnswered, "decoding a payload")
		if task := must(q.Get(t.Context(), id))(t); task.Attempt != 1 || string(task.Payload) != `"no number"` {
			t.Errorf("task %+v", task)
		}
	})
}

// In a rolling deploy the worker may be newer than the submitter. It runs the tasks and logs one warning.
func TestAnotherPayloadVersionIsLoggedOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		w := jobWorker
		w.Payload = "newer"
		app, _ := work(t, memory.New(), w, func(_ context.Context, n int) (int, error) { return 2 * n, nil }, lines.option())
		w.Payload = "older"
		old := af.NewQueue[int, int](app, w)
		for range 3 {
			if got, err := old.Wait(t.Context(), must(old.Submit(t.Context(), 21))(t)); got != 42 || err != nil {
				t.Errorf("got %d, %v", got, err)
			}
		}
		if r := lines.String(); strings.Count(r, "another version of the payload") != 1 ||
			!strings.Contains(r, `"theirs":"older","ours":"newer"`) {
			t.Errorf("logged:\n%s", r)
		}
	})
}

func TestTimeoutIsTheCauseOfTheContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Timeout = 3 * time.Second
		var causes []string
		_, q := work(t, memory.New(), w, func(ctx context.Context, n int) (int, error) {
			<-ctx.Done()
			causes = append(causes, context.Cause(ctx).Error())
			return 0, ctx.Err()
		})
		for _, c := range []struct {
			want time.Duration
			opts []af.SubmitOption
		}{{3 * time.Second, nil}, {time.Second, []af.SubmitOption{af.Timeout(time.Second)}}} {
			begun := time.Now()
			_, err := q.Wait(t.Context(), must(q.Submit(t.Context(), 1, c.opts...))(t))
			wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "deadline")
			if took := time.Since(begun); took != c.want {
				t.Errorf("took %v, want %v", took, c.want)
			}
		}
		if len(causes) != 2 || !strings.Contains(causes[0], "timed out") {
			t.Errorf("causes %q", causes)
		}
	})
}

func TestAbandonedHandlerKeepsItsSlot(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Max, w.Timeout = 1, time.Second
		release := make(chan struct{})
		_, q := work(t, memory.New(), w, func(_ context.Context, n int) (int, error) {
			if n == 1 {
				<-release
			}
			return n, nil
		})
		stuck := must(q.Submit(t.Context(), 1))(t)
		next := must(q.Submit(t.Context(), 2))(t)
		_, err := q.Wait(t.Context(), stuck)
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "did not return after its context ended")
		time.Sleep(time.Hour)
		if task := must(q.Get(t.Context(), next))(t); task.Status.Final() {
			t.Errorf("a second handler ran in a slot that is taken: %+v", task)
		}
		close(release)
		if got, err := q.Wait(t.Context(), next); got != 2 || err != nil {
			t.Errorf("%d, %v", got, err)
		}
		if task := must(q.Get(t.Context(), stuck))(t); task.Status != backend.StatusFailed {
			t.Errorf("the late result counted: %+v", task)
		}
	})
}

func TestHandlerMayReturnWithinTheGrace(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Timeout = time.Second
		_, q := work(t, memory.New(), w, func(ctx context.Context, n int) (int, error) {
			<-ctx.Done()
			time.Sleep(9 * time.Second) // returns within the grace
			return n, nil
		})
		if got, err := q.Wait(t.Context(), must(q.Submit(t.Context(), 7))(t)); got != 7 || err != nil {
			t.Errorf("%d, %v", got, err)
		}
	})
}

// The result of an abandoned handler is ignored, and no lost claim is logged.
func TestResultOfAbandonedHandlerIsIgnored(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Timeout, w.Retries = time.Second, 1
		release := make(chan struct{})
		var lines log
		_, q := work(t, memory.New(), w, func(ctx context.Context, _ int) (int, error) {
			attempt := af.TaskFrom(ctx).Attempt
			if attempt == 1 {
				<-release
			}
			return attempt, nil
		}, lines.option())
		id := must(q.Submit(t.Context(), 1))(t)
		if got := must(q.Wait(t.Context(), id))(t); got != 2 {
			t.Errorf("got %d", got)
		}
		close(release)
		time.Sleep(time.Minute)
		if task := must(q.Get(t.Context(), id))(t); string(task.Result) != "2" ||
			strings.Contains(lines.String(), "the claim was lost") {
			t.Errorf("task %+v, log %s", task, lines.String())
		}
	})
}

func TestTooLargeResultFailsTheTask(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Retries = 5
		app := open(t, memory.New())
		af.RegisterWorker(app, w, &words{})
		start(t, app)
		q := af.NewQueue[int, string](app, w)
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), backend.MaxMessage-2))(t)))(t)
		id := must(q.Submit(t.Context(), backend.MaxMessage-1))(t)
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrResourceExhausted, af.OutcomeAnswered, "maximum of 4194304")
		if task := must(q.Get(t.Context(), id))(t); task.Attempt != 1 || task.Result != nil {
			t.Errorf("attempt %d, a result of %d bytes", task.Attempt, len(task.Result))
		}
	})
}

// words is a worker that returns n bytes.
type words struct{}

func (*words) Run(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil }
