package executor_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/executor"
)

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestResultsInOrderAndProgressIsExact(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		p := executor.Goroutines(func(_ context.Context, n int) (string, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(time.Duration(100-n) * time.Second)
			if n%10 == 3 {
				return "never seen", fmt.Errorf("no %d", n)
			}
			return fmt.Sprint("did ", n), nil
		}, executor.Workers(4))
		ids := must(p.SubmitBatch(t.Context(), numbers(50)))(t)
		if !slices.Equal(ids, numbers(50)) {
			t.Errorf("ids %v", ids)
		}
		if got, want := p.Progress(), (executor.Progress{Total: 50, Queued: 50}); got != want {
			t.Errorf("before: %+v", got)
		}
		check(t, "Start", p.Start(t.Context()))
		synctest.Wait()
		if got, want := p.Progress(), (executor.Progress{Total: 50, Queued: 46, Running: 4}); got != want {
			t.Errorf("meanwhile: %+v", got)
		}
		check(t, "Wait", p.Wait(t.Context()))
		want := executor.Progress{Total: 50, Succeeded: 45, Failed: 5}
		if got := p.Progress(); got != want || most.Load() != 4 {
			t.Errorf("afterwards: %+v, at most %d at once", got, most.Load())
		}
		results := p.Results()
		if len(results) != 50 {
			t.Fatalf("%d results", len(results))
		}
		for i, r := range results {
			bad := i%10 == 3
			want := fmt.Sprint("did ", i)
			if bad {
				want = ""
			}
			if r.ID != i || r.Arg != i || r.Attempts != 1 || (r.Err != nil) != bad || r.Value != want {
				t.Errorf("result %d: %+v", i, r)
			}
		}
		if failed := p.Failed(); len(failed) != 5 || failed[1].ID != 13 || failed[1].Err.Error() != "no 13" {
			t.Errorf("failed %+v", failed)
		}
		if taken := p.Take(); len(taken) != 50 || len(p.Results()) != 0 || p.Progress().Total != 50 {
			t.Errorf("%d taken, %d left", len(taken), len(p.Results()))
		}
		if id := must(p.Submit(t.Context(), 99))(t); id != 50 {
			t.Errorf("the next id is %d", id)
		}
		check(t, "Shutdown", p.Shutdown(t.Context()))
		if r := p.Results(); len(r) != 1 || r[0].ID != 50 || r[0].Value != "did 99" {
			t.Errorf("drained %+v", r)
		}
	})
}

func TestRetriesOccupyNoWorker(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begun := time.Now()
		var mu sync.Mutex
		at := map[int][]time.Duration{}
		p := executor.Goroutines(func(_ context.Context, n int) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			if at[n] = append(at[n], time.Since(begun)); n == 0 && len(at[n]) < 3 || n == 1 || n == 3 {
				return 7, backend.ErrUnavailable
			}
			return n, nil
		}, executor.Workers(1), executor.Retries(2), executor.Delay(time.Hour), executor.RetryIf(func(err error) bool {
			return !errors.Is(err, context.Canceled)
		}))
		check(t, "Start", p.Start(t.Context()))
		must(p.SubmitBatch(t.Context(), []int{0, 1, 2}))(t)
		synctest.Wait()
		if got, want := p.Progress(), (executor.Progress{Total: 3, Delayed: 2, Succeeded: 1}); got != want {
			t.Errorf("meanwhile %+v", got)
		}
		check(t, "Wait", p.Wait(t.Context()))
		r := p.Results()
		if r[0].Err != nil || r[0].Attempts != 3 || !errors.Is(r[1].Err, backend.ErrUnavailable) || r[1].Attempts != 3 ||
			r[1].Value != 0 || r[2].Attempts != 1 {
			t.Errorf("results %+v", r)
		}
		want := []time.Duration{0, time.Hour, 2 * time.Hour}
		if !slices.Equal(at[0], want) || !slices.Equal(at[1], want) || at[2][0] != 0 {
			t.Errorf("ran at %v", at)
		}
		check(t, "Close", p.Close())
	})
}

func TestRetryIfAndBackoff(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var at []time.Duration
		begun := time.Now()
		p := executor.Goroutines(func(_ context.Context, n int) (int, error) {
			at = append(at, time.Since(begun))
			if len(at) < 5 {
				return 0, errors.New("again")
			}
			return 0, backend.ErrNotFound
		}, executor.Retries(100), executor.Backoff(time.Second, 3*time.Second), executor.RetryIf(func(err error) bool {
			return !errors.Is(err, backend.ErrNotFound)
		}))
		check(t, "Start", p.Start(t.Context()))
		must(p.Submit(t.Context(), 0))(t)
		check(t, "Shutdown", p.Shutdown(t.Context())) // drains retries, too
		for i, want := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second} {
			if pause := at[i+1] - at[i]; pause < want*8/10 || pause > want*12/10 {
				t.Errorf("pause %d is %v, want %v ± 20 %%", i, pause, want)
			}
		}
		if f := p.Failed(); len(f) != 1 || f[0].Attempts != 5 || !errors.Is(f[0].Err, backend.ErrNotFound) {
			t.Errorf("failed %+v", f)
		}
	})
}

func TestSubmitBlocksWhileTheQueueIsFull(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		p := executor.Goroutines(func(ctx context.Context, n int) (int, error) {
			<-gate
			return n, nil
		}, executor.Workers(1), executor.Queue(2))
		ids, err := p.SubmitBatch(t.Context(), numbers(3))
		if len(ids) != 2 || !errors.Is(err, backend.ErrResourceExhausted) || !strings.Contains(err.Error(), "2 of 3") {
			t.Errorf("before Start: %v, %v", ids, err)
		}
		check(t, "Start", p.Start(t.Context()))
		must(p.Submit(t.Context(), 2))(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.Submit(ctx, 3); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("into a full queue: %v", err)
		}
		var id int
		done := make(chan struct{})
		go func() {
			defer close(done)
			id, err = p.Submit(t.Context(), 4)
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Error("Submit did not block")
		default:
		}
		gate <- struct{}{}
		<-done
		if id != 3 || err != nil {
			t.Errorf("then: %d, %v", id, err)
		}
		told := make(chan struct{})
		go func() { _, err = p.Submit(t.Context(), 5); close(told) }()
		synctest.Wait()
		go p.Close()
		<-told
		if !errors.Is(err, backend.ErrFailedPrecondition) || !errors.Is(err, executor.ErrShutdown) {
			t.Errorf("at the end: %v", err)
		}
		close(gate)
	})
}

func TestKeepLimitsTheNumberOfJobs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		fn := func(_ context.Context, n int) (int, error) { return n, nil }
		p := executor.Goroutines(fn, executor.Keep(3), executor.Queue(1))
		check(t, "Start", p.Start(t.Context()))
		ids, err := p.SubmitBatch(t.Context(), numbers(5))
		if len(ids) != 3 || !errors.Is(err, backend.ErrResourceExhausted) {
			t.Errorf("%v, %v", ids, err)
		}
		check(t, "Wait", p.Wait(t.Context()))
		p.Take()
		must(p.SubmitBatch(t.Context(), numbers(3)))(t) // the rejected jobs occupy no place in the queue
		check(t, "Close", p.Close())
	})
}

func TestPanicAndGoexitFailTheAttempt(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := executor.Goroutines(func(_ context.Context, n int) (int, error) {
			switch n {
			case 0:
				panic("boom")
			case 1:
				runtime.Goexit()
			}
			return n, nil
		}, executor.Workers(1))
		check(t, "Start", p.Start(t.Context()))
		must(p.SubmitBatch(t.Context(), numbers(3)))(t)
		check(t, "Shutdown", p.Shutdown(t.Context()))
		r := p.Results()
		panicked, ok := errors.AsType[*executor.PanicError](r[0].Err)
		if !ok || panicked.Value != "boom" || !strings.Contains(string(panicked.Stack), "pool_test.go") ||
			!errors.Is(r[0].Err, backend.ErrInternal) {
			t.Errorf("panic: %v", r[0].Err)
		}
		if !errors.Is(r[1].Err, backend.ErrInternal) || !strings.Contains(r[1].Err.Error(), "ended its goroutine") ||
			r[2].Value != 2 {
			t.Errorf("results %+v", r)
		}
	})
}

type pointerError struct{ text string }

func (e *pointerError) Error() string { return e.text }

func TestPanicInErrorOrRetryIfFailsTheJob(t *testing.T) {
	var p *executor.Pool[string, int]
	p = executor.Goroutines(func(_ context.Context, what string) (int, error) {
		if what == "nil" {
			var e *pointerError
			return 0, e
		}
		return 0, errors.New(what)
	}, executor.Retries(1), executor.Delay(0), executor.RetryIf(func(err error) bool {
		switch err.Error() {
		case "panic":
			panic("RetryIf")
		case "exit":
			runtime.Goexit()
		}
		return p.Progress().Total == 4 // it may use the pool
	}))
	must(p.SubmitBatch(t.Context(), []string{"nil", "panic", "exit", "again"}))(t)
	check(t, "Start", p.Start(t.Context()))
	check(t, "Wait", p.Wait(t.Context()))
	check(t, "Shutdown", p.Shutdown(t.Context()))
	var panics, attempts []int
	for _, r := range p.Failed() {
		if _, ok := errors.AsType[*executor.PanicError](r.Err); ok {
			panics = append(panics, r.ID)
		}
		attempts = append(attempts, r.Attempts)
	}
	if !slices.Equal(panics, []int{0, 1}) || !slices.Equal(attempts, []int{2, 1, 1, 2}) {
		t.Errorf("panics in %v, attempts %v: %+v", panics, attempts, p.Failed())
	}
}

func TestContextsEndWithACause(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		wait := func(ctx context.Context, n int) (int, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}
		p := executor.Goroutines(wait, executor.Timeout(time.Minute), executor.Workers(1))
		check(t, "Start", p.Start(t.Context()))
		must(p.Submit(t.Context(), 0))(t)
		check(t, "Wait", p.Wait(t.Context()))
		must(p.SubmitBatch(t.Context(), numbers(2)))(t)
		synctest.Wait()
		check(t, "Close", p.Close())
		for i, want := range []error{executor.ErrTimeout, executor.ErrShutdown, executor.ErrShutdown} {
			if r := p.Results()[i]; !errors.Is(r.Err, want) || (r.Attempts == 0) != (i == 2) {
				t.Errorf("%d: %+v", i, r)
			}
		}

		p = executor.Goroutines(wait, executor.Workers(1), executor.Retries(5))
		ctx, cancel := context.WithCancelCause(t.Context())
		check(t, "Start", p.Start(ctx))
		must(p.SubmitBatch(t.Context(), numbers(2)))(t)
		synctest.Wait()
		cause := errors.New("enough")
		cancel(cause)
		check(t, "Wait", p.Wait(t.Context()))
		for _, r := range p.Results() {
			if !errors.Is(r.Err, cause) || r.Attempts > 1 {
				t.Errorf("%+v", r)
			}
		}
		if _, err := p.Submit(t.Context(), 1); !errors.Is(err, backend.ErrFailedPrecondition) || !errors.Is(err, cause) {
			t.Errorf("Submit: %v", err)
		}
		check(t, "Shutdown", p.Shutdown(t.Context()))
	})
}

func TestShutdownCancelsAfterItsDeadline(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := executor.Goroutines(func(ctx context.Context, n int) (int, error) {
			if n == 0 {
				return 0, errors.New("later")
			}
			<-ctx.Done()
			return n, nil // counts as a success
		}, executor.Workers(2), executor.Retries(1), executor.Delay(time.Hour))
		check(t, "Start", p.Start(t.Context()))
		must(p.SubmitBatch(t.Context(), numbers(5)))(t)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		err := p.Shutdown(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "5 jobs have not ended") ||
			time.Since(begun) != time.Minute {
			t.Errorf("Shutdown: %v after %v", err, time.Since(begun))
		}
		if got, want := p.Progress(), (executor.Progress{Total: 5, Succeeded: 2, Failed: 3}); got != want {
			t.Errorf("%+v", got)
		}
		if r := p.Results()[0]; !errors.Is(r.Err, executor.ErrShutdown) || !strings.Contains(r.Err.Error(), "later") {
			t.Errorf("the delayed one: %+v", r)
		}
		if again := p.Close(); !errors.Is(again, context.DeadlineExceeded) {
			t.Errorf("a second one: %v", again)
		}
	})
}

func TestGoroutinesThatIgnoreTheirContextsAreAbandoned(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		p := executor.Goroutines(func(ctx context.Context, n int) (int, error) {
			<-gate
			return n, nil
		}, executor.Grace(time.Second))
		check(t, "Start", p.Start(t.Context()))
		must(p.Submit(t.Context(), 0))(t)
		synctest.Wait()
		err := p.Close()
		if !errors.Is(err, backend.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "1 jobs did not return") {
			t.Errorf("Close: %v", err)
		}
		close(gate)
		synctest.Wait()
		if got, want := p.Progress(), (executor.Progress{Total: 1, Failed: 1}); got != want {
			t.Errorf("the late result counts: %+v", got)
		}
	})
}

func TestMisuseReturnsErrors(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := executor.Goroutines(func(_ context.Context, n int) (int, error) { return n, nil })
		check(t, "Wait without jobs", p.Wait(t.Context()))
		must(p.Submit(t.Context(), 0))(t)
		if err := p.Wait(t.Context()); !errors.Is(err, backend.ErrFailedPrecondition) {
			t.Errorf("Wait before Start: %v", err)
		}
		check(t, "Shutdown before Start", p.Shutdown(t.Context()))
		if f := p.Failed(); len(f) != 1 || !errors.Is(f[0].Err, executor.ErrShutdown) {
			t.Errorf("failed %+v", f)
		}
		if err := p.Start(t.Context()); !errors.Is(err, backend.ErrFailedPrecondition) {
			t.Errorf("Start after Shutdown: %v", err)
		}
		if err := executor.Goroutines[int, int](nil).Start(t.Context()); !errors.Is(err, backend.ErrInvalidArgument) {
			t.Errorf("Start without a function: %v", err)
		}
	})
}
