package runtime_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument"
)

// These tests check what a shutdown waits for, and what it releases.

// Shutdown waits for running tasks, but no longer.
func TestShutdownReturnsWithTheLastTask(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, func(_ context.Context, n int) (int, error) {
			time.Sleep(time.Duration(n) * time.Second)
			return n, nil
		})
		must(q.SubmitMany(t.Context(), []int{1, 3, 2}))(t)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		if err := app.Shutdown(ctx); err != nil || time.Since(begun) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// Shutdown waits until the results of the last tasks are written. If its context ends first, its error has their
// number.
func TestShutdownWritesResults(t *testing.T) {
	run := func(_ context.Context, n int) (int, error) {
		time.Sleep(time.Second)
		return n, nil
	}
	bubble.Test(t, func(t *testing.T) {
		slow := newSlowSettle()
		app, q := work(t, slow, jobWorker, run)
		id := must(q.Submit(t.Context(), 1))(t)
		synctest.Wait()
		if err := app.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := must(af.NewQueue[int, int](openStarted(t, slow), jobWorker).Result(t.Context(), id))(t); got != 1 {
			t.Errorf("got %d", got)
		}
	})
	bubble.Test(t, func(t *testing.T) {
		b := fault.New(fault.Around(memory.New()), 1, fault.Plan{})
		app, q := work(t, b, jobWorker, run)
		must(q.Submit(t.Context(), 1))(t)
		synctest.Wait()
		b.Fail("Settle", 10, fault.Hung)
		begun := time.Now()
		if err := app.Shutdown(t.Context()); err == nil ||
			!strings.Contains(err.Error(), "could not write results of 1 tasks") {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("Shutdown took %v", took)
		}
	})
}

// A claim that this process does not know of, since its reply was lost, is released at its shutdown. That is not a
// crash.
func TestShutdownReleasesUnknownClaims(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		b := fault.New(world, 1, fault.Plan{})
		app, q := work(t, b, jobWorker, func(context.Context, int) (int, error) { t.Error("the task ran"); return 0, nil })
		synctest.Wait()
		b.Fail("Claim", 3, fault.ReplyLost)
		id := must(q.Submit(t.Context(), 1))(t)
		time.Sleep(time.Second)
		if task := must(q.Get(t.Context(), id))(t); task.Status != backend.StatusRunning {
			t.Fatalf("no reply was lost: the task is %s", task.Status)
		}
		if err := app.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		_, other := process(t, world, fault.Plan{}, jobWorker, same)
		must(other.Wait(t.Context(), id))(t)
		if task := must(other.Get(t.Context(), id))(t); task.Attempt != 1 || task.Crashes != 0 || task.Fence != 2 {
			t.Errorf("%+v", task)
		}
	})
}

// A handler that ignores even a shutdown is abandoned and logged. Its task runs again elsewhere, uncharged.
func TestShutdownAbandonsTasks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		release := make(chan struct{})
		defer close(release)
		var lines log
		app, q := work(t, world, jobWorker, func(context.Context, int) (int, error) { stuckUntil(release); return 1, nil },
			lines.option())
		id := must(q.Submit(t.Context(), 1))(t)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if err := app.Shutdown(ctx); err == nil || time.Since(begun) > 3*time.Second {
			t.Errorf("Shutdown: %v after %v", err, time.Since(begun))
		}
		wantStuck(t, &lines, id)
		begun = time.Now()
		_, q = work(t, world, jobWorker, func(context.Context, int) (int, error) { return 2, nil })
		got := must(q.Wait(t.Context(), id))(t)
		if task := must(q.Get(t.Context(), id))(t); got != 2 || time.Since(begun) != 0 || task.Attempt != 1 ||
			task.Crashes != 0 {
			t.Errorf("got %d after %v: %+v", got, time.Since(begun), task)
		}
	})
}

func TestShutdownFinishesRunningCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		server := serve(t, world, func(ctx context.Context, x int) (int, error) {
			time.Sleep(2 * time.Second)
			return x, ctx.Err()
		})
		client := openStarted(t, world)
		results := make(chan error, 1)
		go func() {
			_, err := call(t.Context(), client, 1)
			results <- err
		}()
		synctest.Wait()
		begun := time.Now()
		down := make(chan error, 1)
		go func() { down <- server.Shutdown(t.Context()) }()
		synctest.Wait()
		_, err := call(t.Context(), client, 2)
		wantError(t, err, af.ErrUnavailable, af.OutcomeNotSent, "no instance")
		if err := <-results; err != nil {
			t.Errorf("the running call: %v", err)
		}
		if err := <-down; err != nil || time.Since(begun) != 2*time.Second {
			t.Errorf("Shutdown: %v after %v", err, time.Since(begun))
		}
	})
}

func TestShutdownCancelsCallsAfterItsDeadline(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		var cause error
		server := serve(t, world, func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return 0, cause
		})
		client := openStarted(t, world)
		results := make(chan error, 1)
		go func() {
			_, err := call(t.Context(), client, 1, af.Timeout(time.Hour))
			results <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := server.Shutdown(ctx)
		if err == nil || !strings.Contains(err.Error(), `1 calls of service "calc" still run`) {
			t.Errorf("Shutdown: %v", err)
		}
		wantError(t, <-results, af.ErrUnavailable, af.OutcomeAnswered, "shutting down")
		if !errors.Is(cause, af.ErrUnavailable) {
			t.Errorf("cause %v", cause)
		}
	})
}

func TestShutdownAbandonsCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var lines log
		app := serve(t, memory.New(), func(context.Context, int) (int, error) {
			stuckUntil(release)
			return 0, nil
		}, lines.option())
		results := make(chan error, 1)
		go func() {
			_, err := call(t.Context(), app, 1)
			results <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if err := app.Shutdown(ctx); err == nil {
			t.Error("Shutdown: no error")
		}
		if took := time.Since(begun); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
		stacks, _ := lines.record(t, "handlers did not return after their contexts ended, abandoned")["stacks"].([]any)
		if len(stacks) != 1 {
			t.Fatalf("logged stacks %q", stacks)
		}
		wantStuckIn(t, stacks[0])
		wantError(t, <-results, af.ErrUnavailable, af.OutcomeUnknown, "shut down during a call")
		close(release)
	})
}

func TestShutdownReleasesTasksUncharged(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		first, q := work(t, world, jobWorker, func(ctx context.Context, n int) (int, error) {
			if n == 0 {
				return 0, nil
			}
			<-ctx.Done()
			return 0, context.Cause(ctx)
		})
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 0))(t)))(t)
		id := must(q.Submit(t.Context(), 1))(t)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := first.Shutdown(ctx); err == nil ||
			!strings.Contains(err.Error(), "queue \"job\": released 1 tasks that were still running") {
			t.Errorf("Shutdown: %v", err)
		}
		var attempt int
		begun := time.Now()
		_, q = work(t, world, jobWorker, func(ctx context.Context, n int) (int, error) {
			attempt = af.TaskFrom(ctx).Attempt
			return n, nil
		})
		if got, err := q.Wait(t.Context(), id); got != 1 || err != nil || attempt != 1 || time.Since(begun) != 0 {
			t.Errorf("%d, %v in attempt %d after %v", got, err, attempt, time.Since(begun))
		}
	})
}

// Run drains for DrainTimeout and not longer.
func TestDrainTimeout(t *testing.T) {
	app := open(t, memory.New(), af.DrainTimeout(time.Millisecond))
	begun := make(chan struct{})
	registerCalc(app, &calc{func(ctx context.Context, x int) (int, error) {
		if x == 1 { // the call of waitCall
			return x, nil
		}
		close(begun)
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done, called := make(chan error, 1), make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	if _, err := waitCall(t, app); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := call(t.Context(), app, 2, af.Timeout(time.Hour))
		called <- err
	}()
	<-begun
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "still run") {
		t.Errorf("Run: %v", err)
	}
	wantError(t, <-called, af.ErrUnavailable, af.OutcomeAnswered, "shutting down")
}

// A slowInstrument takes some time to observe that an attempt begins.
type slowInstrument struct {
	instrument.NoInstrument
	takes time.Duration
}

func (s slowInstrument) Attempt(
	ctx context.Context, _ instrument.Start,
) (context.Context, func(instrument.End)) {
	time.Sleep(s.takes)
	return ctx, nil
}

// A task that is being started when the drain ends does not run here. It runs elsewhere, and no attempt is charged.
func TestShutdownReleasesTasksThatAreBeingStarted(t *testing.T) {
	for name, takes := range map[string]time.Duration{"soon": 1500 * time.Millisecond, "late": 2200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				world := memory.New()
				app, q := work(t, world, jobWorker, func(ctx context.Context, n int) (int, error) {
					t.Errorf("it runs here, and its context has ended: %t", ctx.Err() != nil)
					return n, nil
				}, af.Instrument(slowInstrument{takes: takes}))
				id := must(q.Submit(t.Context(), 1))(t)
				synctest.Wait() // it is claimed
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_ = app.Shutdown(ctx)
				time.Sleep(takes)
				_, q = work(t, world, jobWorker, same)
				must(q.Wait(t.Context(), id))(t)
				if task := must(q.Get(t.Context(), id))(t); task.Attempt != 1 || task.Crashes != 0 {
					t.Errorf("%+v", task)
				}
			})
		})
	}
}

// A deafStore is down for results, claims and drains until a shutdown has tried three times to read the
// claims that it must release.
type deafStore struct {
	backend.Store
	reads atomic.Int64
}

func (s *deafStore) Drain(ctx context.Context, owner string) error {
	if s.reads.Load() < 3 {
		return errDown
	}
	return s.Store.Drain(ctx, owner)
}

func (s *deafStore) Settle(context.Context, []backend.Settle) ([]backend.Settled, error) {
	return nil, errDown
}

func (s *deafStore) Owned(context.Context, string) ([]backend.Owned, error) {
	s.reads.Add(1)
	return nil, errDown
}

// Tasks that a shutdown can neither settle nor release are no suspects, even if the store has not learned before that
// the process was shutting down.
func TestShutdownSuspectsNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		app, q := work(t, altered{world, func(p *backend.Ports) { p.Store = &deafStore{Store: p.Store} }}, jobWorker,
			func(ctx context.Context, n int) (int, error) {
				<-ctx.Done()
				return n, nil
			})
		id := must(q.Submit(t.Context(), 1))(t)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := app.Shutdown(ctx); err == nil {
			t.Error("Shutdown: no error")
		}
		q = af.NewQueue[int, int](openStarted(t, world), jobWorker)
		if task := must(q.Get(t.Context(), id))(t); task.Status != backend.StatusWaiting || task.Suspect != nil {
			t.Errorf("%+v, %+v", task, task.Suspect)
		}
	})
}
