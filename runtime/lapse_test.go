package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// One call fails, or something small is left undone: what mends it sooner than the next audit, sweep or lease would.

// A claim whose reply was lost is fetched again by its nonce: what it took runs at once, and nothing is charged.
func TestClaimWhoseReplyWasLostRunsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, q := process(t, fault.Around(memory.New()), fault.Plan{}, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
		synctest.Wait()
		b.Fail("Claim", 1, fault.ReplyLost)
		begun := time.Now()
		id := must(q.Submit(t.Context(), 1))(t)
		must(q.Wait(t.Context(), id))(t)
		if took, task := time.Since(begun), must(q.Get(t.Context(), id))(t); took > time.Second || task.Fence != 1 {
			t.Errorf("ran after %v with fence %d", took, task.Fence)
		}
	})
}

// Calls that get no reply are given up on and repeated: a process that goes on hanging would never run anything again.
func TestCallThatNeverReturnsHoldsNothingUpForLong(t *testing.T) {
	for _, op := range []string{"Claim", "Settle", "Beat", "Owned", "Owners", "Promote", "Loose", "Finish", "Hint", "Depth", "Announce", "Broadcast"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, q := process(t, fault.Around(memory.New(memory.HintIDs(4096))), fault.Plan{}, jobWorker, func(_ context.Context, n int) (int, error) {
					time.Sleep(time.Second)
					return n, nil
				})
				synctest.Wait()
				b.Fail(op, 1, fault.Hung)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				for range 3 {
					must(q.Wait(ctx, must(q.Submit(ctx, 1))(t)))(t)
				}
			})
		})
	}
}

// A process whose beats are not accepted claims nothing, though it could: it would only have to stop it soon.
func TestProcessThatCannotBeatLeavesTasksToOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		var sick, well atomic.Int32
		count := func(runs *atomic.Int32) func(context.Context, int) (int, error) {
			return func(_ context.Context, n int) (int, error) { runs.Add(1); return n, nil }
		}
		b, _ := process(t, world, fault.Plan{}, jobWorker, count(&sick))
		_, q := process(t, world, fault.Plan{}, jobWorker, nil)
		b.Fail("Beat", 1000, fault.Refused)
		time.Sleep(6 * time.Second)
		id := must(q.Submit(t.Context(), 1))(t)
		time.Sleep(time.Minute)
		process(t, world, fault.Plan{}, jobWorker, count(&well))
		must(q.Wait(t.Context(), id))(t)
		if sick.Load() != 0 || well.Load() != 1 {
			t.Errorf("%d runs where beats are refused, %d elsewhere", sick.Load(), well.Load())
		}
	})
}

// A pool that was woken while it could not claim looks again as soon as it can, and not only when its net is due.
func TestPoolLooksAgainAfterAClaimThatFailed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		b, q := process(t, world, fault.Plan{}, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
		_, client := process(t, world, fault.Plan{}, jobWorker, nil)
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t)))(t) // its net is due in 4 s or more
		b.Fail("Claim", 3, fault.Refused)
		begun := time.Now()
		must(client.Wait(t.Context(), must(client.Submit(t.Context(), 1))(t)))(t)
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("ran after %v", took)
		}
	})
}

// A process that is convicted while it lives learns of it by its next claim: it stops what it runs and goes on.
func TestConvictedProcessGoesOnAtItsNextClaim(t *testing.T) {
	bubble(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		var mu sync.Mutex
		var causes []error
		_, q := process(t, world, fault.Plan{}, jobWorker, func(ctx context.Context, n int) (int, error) {
			if af.TaskFrom(ctx).Fence == 1 && n == 1 {
				<-ctx.Done()
				mu.Lock()
				causes = append(causes, context.Cause(ctx))
				mu.Unlock()
			}
			return n, nil
		})
		first := must(q.Submit(t.Context(), 1))(t)
		time.Sleep(2*time.Second + time.Millisecond) // the next beat is far away
		store := convict(t, world)
		begun := time.Now()
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 2))(t)))(t)
		must(q.Wait(t.Context(), first))(t)
		if took := time.Since(begun); took > 500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(causes) != 1 || !errors.Is(causes[0], af.ErrLeaseLost) {
			t.Errorf("causes %v", causes)
		}
		if task := must(store.Get(t.Context(), first))(t); task.Fence != 2 || task.Crashes != 1 || string(task.Result) != "1" {
			t.Errorf("%+v", task)
		}
	})
}

// The hint of a task stays unacknowledged while the task runs, whether the task was claimed by it or before it came: it is
// what tells of the process's death.
func TestHintOfARunningTaskComesBackWhenItsProcessDies(t *testing.T) {
	for _, byHint := range []bool{true, false} {
		t.Run(fmt.Sprint("claimed by its hint: ", byHint), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				world := fault.Around(memory.New(memory.HintIDs(4096)))
				begun := make(chan struct{}, 1)
				victim, _ := process(t, world, fault.Plan{}, jobWorker, func(ctx context.Context, _ int) (int, error) {
					begun <- struct{}{}
					<-ctx.Done()
					return 0, ctx.Err()
				})
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
				_, other := process(t, world, fault.Plan{}, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
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

// A ledger is a backend that counts the hints which have been delivered and not acknowledged.
type ledger struct {
	af.Backend
	open *atomic.Int64
}

type ledgerTransport struct {
	backend.Transport
	ledger
}

type ledgerListener struct {
	backend.Listener
	ledger
}

func (l ledger) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := l.Backend.Open(ctx, env)
	if err == nil {
		ports.Transport = ledgerTransport{ports.Transport, l}
	}
	return ports, err
}

func (l ledgerTransport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	in, err := l.Transport.Listen(ctx, queue, window)
	return ledgerListener{in, l.ledger}, err
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

// I9: when everything has ended no hint is left unacknowledged, of whatever kind and whatever became of its task.
func TestNoHintIsLeftUnacknowledged(t *testing.T) {
	for name, opts := range map[string][]memory.Option{"wake-ups": nil, "hints with ids": {memory.HintIDs(4096)}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := ledger{memory.New(opts...), new(atomic.Int64)}
				world := fault.Around(l)
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
				b.Fail("Claim", 6, fault.Refused) // with the hints that it has
				ns := make([]int, 100)
				for i := range ns {
					ns[i] = i
				}
				for _, id := range must(client.SubmitMany(t.Context(), ns))(t) {
					must(q.Wait(t.Context(), id))(t)
				}
				same := must(client.Submit(t.Context(), 6))(t)
				must(must(world.Open(t.Context(), backend.Env{}))(t).Transport.Hint(t.Context(), w.Name, []string{same, same, "nosuch", "nosuch"}))(t)
				time.Sleep(10 * time.Second) // the last hint of those repeated may come a second later
				synctest.Wait()
				if n := l.open.Load(); n != 0 {
					t.Errorf("%d hints are unacknowledged", n)
				}
			})
		})
	}
}

// A hint that comes for an attempt which was settled, though its handler has not returned, has nothing to tell of.
func TestLateHintOfAnAbandonedAttemptIsAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := ledger{memory.New(memory.HintIDs(4096)), new(atomic.Int64)}
		w := jobWorker
		w.Timeout = time.Second
		release := make(chan struct{})
		defer close(release)
		_, q := work(t, l, w, func(context.Context, int) (int, error) { <-release; return 0, nil })
		id := must(q.Submit(t.Context(), 1))(t)
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "ignored")
		synctest.Wait()
		must(must(l.Backend.Open(t.Context(), backend.Env{}))(t).Transport.Hint(t.Context(), w.Name, []string{id}))(t)
		synctest.Wait()
		if n := l.open.Load(); n != 0 {
			t.Errorf("%d hints are unacknowledged", n)
		}
	})
}

// Results that wait to be written, for longer than two audits, are no claims of which nobody knows.
func TestResultsThatWaitAreNotGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := fault.New(fault.Around(memory.New()), 1, fault.Plan{})
		w := jobWorker
		w.Max = 300
		var lines log
		_, q := work(t, b, w, func(_ context.Context, n int) (int, error) {
			time.Sleep(time.Second)
			return n, nil
		}, lines.option())
		ids := must(q.SubmitMany(t.Context(), make([]int, 300)))(t) // more than one batch
		synctest.Wait()
		b.Fail("Settle", 3, fault.Hung)
		for _, id := range ids {
			must(q.Wait(t.Context(), id))(t)
			if task := must(q.Get(t.Context(), id))(t); task.Fence != 1 {
				t.Errorf("%s ran with fence %d", id, task.Fence)
			}
		}
		time.Sleep(time.Minute)
		if strings.Contains(lines.String(), "the claim was lost") {
			t.Errorf("a claim was given back beside its result: %s", lines.String())
		}
	})
}

// Shutdown waits for what runs, and no longer.
func TestShutdownReturnsWithTheLastTask(t *testing.T) {
	bubble(t, func(t *testing.T) {
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

// SubtasksDone needs its source: where the store doesn't have it to give, that is not the worker's failure.
func TestSubtasksDoneWaitsForTheStoreWithoutBeingCharged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		b := fault.New(world, 1, fault.Plan{})
		app := open(t, b)
		var totals []int
		af.RegisterWorker(app, jobWorker, &fanJob{
			job{func(_ context.Context, n int) (int, error) { return n, nil }},
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

// convict takes all processes of a world for dead, and returns its store.
func convict(t *testing.T, world *fault.World) backend.Store {
	t.Helper()
	store := must(world.Open(t.Context(), backend.Env{}))(t).Store
	for name, count := range must(store.Owners(t.Context()))(t) {
		must(store.Judge(t.Context(), name, count, 3))(t)
	}
	return store
}

// A handler that ignores even a shutdown is left behind: its task goes on elsewhere, uncharged, and the log says so.
func TestHandlerThatIgnoresAShutdownIsLeftBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		world := memory.New()
		release := make(chan struct{})
		defer close(release)
		var lines log
		app, q := work(t, world, jobWorker, func(context.Context, int) (int, error) { <-release; return 1, nil }, lines.option())
		id := must(q.Submit(t.Context(), 1))(t)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if err := app.Shutdown(ctx); err == nil || time.Since(begun) > 3*time.Second {
			t.Errorf("Shutdown: %v after %v", err, time.Since(begun))
		}
		if !strings.Contains(lines.String(), "ignores its context") {
			t.Errorf("the log: %s", lines.String())
		}
		begun = time.Now()
		_, q = work(t, world, jobWorker, func(context.Context, int) (int, error) { return 2, nil })
		got := must(q.Wait(t.Context(), id))(t)
		if task := must(q.Get(t.Context(), id))(t); got != 2 || time.Since(begun) != 0 || task.Attempt != 1 || task.Crashes != 0 {
			t.Errorf("got %d after %v: %+v", got, time.Since(begun), task)
		}
	})
}
