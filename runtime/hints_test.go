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

// These tests check hints from their delivery to their acknowledgement.

// The hint of a task is not acknowledged while the task is running, even if it arrives after the claim. So it is
// redelivered when the process dies.
func TestHintOfARunningTaskIsRedelivered(t *testing.T) {
	for _, byHint := range []bool{true, false} {
		t.Run(fmt.Sprintf("by_hint=%v", byHint), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				world := fault.Around(memory.New(memory.HintIDs(4096)))
				begun := make(chan struct{}, 1)
				victim, _ := process(t, world, fault.Plan{}, jobWorker, hang(begun))
				client, q := process(t, world, fault.Plan{}, jobWorker, nil)
				time.Sleep(3*time.Second + time.Millisecond)
				if !byHint {
					victim.Fail("Promote", 100, fault.Refused)
					client.SetPlan(fault.Plan{LoseHint: 1})
				}
				id := must(q.Submit(t.Context(), 5))(t)
				<-begun
				if !byHint {
					must(must(world.Open(t.Context(), backend.Env{}))(t).Transport.Hint(t.Context(), jobWorker.Name, []string{id}))(t)
				}
				synctest.Wait()
				_, other := process(t, world, fault.Plan{}, jobWorker, same)
				time.Sleep(5 * time.Second)
				victim.Crash()
				died := time.Now()
				must(other.Wait(t.Context(), id))(t)
				if took := time.Since(died); took > 4*time.Second {
					t.Errorf("running again after %v, want about 3 s", took)
				}
			})
		})
	}
}

// ledger is a backend that counts in open the hints that were delivered and not acknowledged.
func ledger(b af.Backend, open *atomic.Int64) af.Backend {
	return altered{b, func(p *backend.Ports) { p.Transport = ledgerTransport{p.Transport, open} }}
}

type ledgerTransport struct {
	backend.Transport
	open *atomic.Int64
}

type ledgerListener struct {
	backend.Listener
	open *atomic.Int64
}

func (l ledgerTransport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	in, err := l.Transport.Listen(ctx, queue, window)
	return ledgerListener{in, l.open}, err
}

func (l ledgerListener) Next(ctx context.Context, max int) ([]backend.Hint, error) {
	hints, err := l.Listener.Next(ctx, max)
	for i := range hints {
		l.open.Add(1)
		done := sync.OnceFunc(func() { l.open.Add(-1) })
		in := hints[i].Done
		hints[i].Done = func() { done(); in() }
	}
	return hints, err
}

// When all tasks have ended, all hints are acknowledged.
func TestAllHintsAreAcknowledged(t *testing.T) {
	for name, opts := range map[string][]memory.Option{"wake-ups": nil, "hints_with_ids": {memory.HintIDs(4096)}} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var open atomic.Int64
				world := fault.Around(ledger(memory.New(opts...), &open))
				run := func(ctx context.Context, n int) (int, error) {
					time.Sleep(time.Duration(n%7) * 100 * time.Millisecond)
					if n%5 == 0 && af.TaskFrom(ctx).Attempt == 1 {
						return 0, errors.New("once more")
					}
					return n, nil
				}
				w := jobWorker
				w.Retries = 1
				b, q := process(t, world, fault.Plan{}, w, run)
				process(t, world, fault.Plan{}, w, run)
				_, client := process(t, world, fault.Plan{RepeatHint: 1, ShuffleHint: 1}, w, nil)
				synctest.Wait()
				b.Fail("Claim", 6, fault.Refused) // a claim for hints
				ns := make([]int, 100)
				for i := range ns {
					ns[i] = i
				}
				for _, id := range must(client.SubmitMany(t.Context(), ns))(t) {
					must(q.Wait(t.Context(), id))(t)
				}
				same := must(client.Submit(t.Context(), 6))(t)
				must(must(world.Open(t.Context(), backend.Env{}))(t).Transport.Hint(t.Context(), w.Name,
					[]string{same, same, "nosuch", "nosuch"}))(t)
				time.Sleep(10 * time.Second) // the last repeated hint may arrive a second later
				synctest.Wait()
				if n := open.Load(); n != 0 {
					t.Errorf("%d hints are unacknowledged", n)
				}
			})
		})
	}
}

// A hint that arrives for an abandoned attempt, whose result is already stored, is acknowledged.
func TestHintOfAbandonedAttemptIsAcknowledged(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var open atomic.Int64
		world := memory.New(memory.HintIDs(4096))
		w := jobWorker
		w.Timeout = time.Second
		release := make(chan struct{})
		defer close(release)
		_, q := work(t, ledger(world, &open), w, func(context.Context, int) (int, error) { <-release; return 0, nil })
		id := must(q.Submit(t.Context(), 1))(t)
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "did not return")
		synctest.Wait()
		must(must(world.Open(t.Context(), backend.Env{}))(t).Transport.Hint(t.Context(), w.Name, []string{id}))(t)
		synctest.Wait()
		if n := open.Load(); n != 0 {
			t.Errorf("%d hints are unacknowledged", n)
		}
	})
}

// The hint of a task that runs for long is acknowledged after a minute, since brokers limit the time to acknowledge.
func TestHintOfLongRunIsAcknowledgedAfterAMinute(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var open atomic.Int64
		world := memory.New(memory.HintIDs(4096))
		_, q := work(t, ledger(world, &open), jobWorker, func(_ context.Context, n int) (int, error) {
			time.Sleep(2 * time.Minute)
			return n, nil
		})
		time.Sleep(1500 * time.Millisecond)
		must(q.Submit(t.Context(), 1))(t)
		for _, want := range []int64{1, 0} {
			time.Sleep(55 * time.Second)
			if n := open.Load(); n != want {
				t.Errorf("%d hints are unacknowledged, want %d", n, want)
			}
		}
	})
}

// If changing a listener's window fails, it is retried. Otherwise the listener would get no more hints after a pause.
func TestChangingTheWindowIsRetried(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New(memory.HintIDs(4096)))
		b := fault.New(world, 1, fault.Plan{})
		app, q := work(t, b, jobWorker, same)
		must(0, app.PauseQueue(t.Context(), jobWorker.Name))(t)
		time.Sleep(10 * time.Second)
		b.Fail("Resize", 3, fault.Refused)
		must(0, app.ResumeQueue(t.Context(), jobWorker.Name))(t)
		time.Sleep(10 * time.Second)
		for range 10 {
			begun := time.Now()
			must(q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t)))(t)
			if took := time.Since(begun); took > 100*time.Millisecond {
				t.Fatalf("took %v: no hint came", took)
			}
		}
	})
}
