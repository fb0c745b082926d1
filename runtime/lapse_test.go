package runtime_test

import (
	"context"
	"errors"
	"strings"
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
		b, q := process(t, fault.Around(memory.New()), fault.Plan{}, jobWorker, same)
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

// A settle whose reply was lost is repeated under its nonce, and counts: who waits is told, and nothing was lost.
func TestSettleWhoseReplyWasLostIsApplied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := fault.New(fault.Around(memory.New()), 1, fault.Plan{})
		var lines log
		_, q := work(t, b, jobWorker, same, lines.option())
		b.Fail("Settle", 2, fault.ReplyLost)
		id := must(q.Submit(t.Context(), 1))(t)
		must(q.Wait(t.Context(), id))(t)
		time.Sleep(time.Minute)
		if task := must(q.Get(t.Context(), id))(t); task.Fence != 1 ||
			strings.Contains(lines.String(), "the claim was lost") {
			t.Errorf("fence %d, log %s", task.Fence, lines.String())
		}
	})
}

// Calls that get no reply are given up on and repeated: a process that goes on hanging would never run anything again.
func TestCallThatNeverReturnsHoldsNothingUpForLong(t *testing.T) {
	for _, op := range []string{"Claim", "Settle", "Beat", "Owned", "Owners", "Promote", "Unfinished", "Finish", "Hint",
		"Depth", "Announce", "Publish"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, q := process(t, fault.Around(memory.New(memory.HintIDs(4096))), fault.Plan{}, jobWorker,
					func(_ context.Context, n int) (int, error) {
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
		b, q := process(t, world, fault.Plan{}, jobWorker, same)
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

// A pool that could not claim, since no beat was accepted, goes on with the first one that is.
func TestPoolGoesOnWithTheFirstBeatThatIsAccepted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		b, q := process(t, world, fault.Plan{}, jobWorker, same)
		_, client := process(t, world, fault.Plan{}, jobWorker, nil)
		time.Sleep(2500 * time.Millisecond)
		b.Fail("Beat", 7, fault.Refused) // those at 3 s to 9 s
		time.Sleep(7 * time.Second)
		id := must(client.Submit(t.Context(), 1))(t)
		begun := time.Now()
		must(q.Wait(t.Context(), id))(t)
		if took := time.Since(begun); took != 500*time.Millisecond {
			t.Errorf("ran after %v", took)
		}
	})
}

// What a process could not do after the end of a task, since the store refused it, the sweeper does.
func TestSweeperDoesWhatCouldNotBeDoneAtTheEndOfATask(t *testing.T) {
	for _, op := range []string{"Open", "Finish", "Stop"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, q := process(t, fault.Around(memory.New()), fault.Plan{}, jobWorker,
					func(ctx context.Context, n int) (int, error) {
						if n == 0 {
							time.Sleep(time.Second)
							if op == "Stop" {
								return 0, errors.New("the source fails")
							}
						}
						return n, nil
					})
				source := must(q.Submit(t.Context(), 0))(t)
				must(q.Subtasks(t.Context(), source, []int{1, 2}))(t)
				b.Fail(op, 3, fault.Refused)
				if op == "Finish" {
					b.Fail(op, 3, fault.Refused) // by the source, and by its subtasks
				}
				time.Sleep(20 * time.Second)
				if s := must(q.Get(t.Context(), source))(t).Subtasks; s == nil || s.Total != 2 {
					t.Errorf("the set: %+v", s)
				}
			})
		})
	}
}

// Who waits for a task elsewhere looks now and then, also while the store is away, and until its own App shuts down.
func TestWaitGoesOnThroughFailuresAndEndsWithItsApp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		_, q := process(t, world, fault.Plan{}, jobWorker, func(_ context.Context, n int) (int, error) {
			time.Sleep(time.Duration(n) * time.Second)
			return n, nil
		})
		b, elsewhere := process(t, world, fault.Plan{}, jobWorker, nil)
		begun := time.Now()
		id := must(q.Submit(t.Context(), 5))(t)
		b.Fail("Get", 3, fault.Refused)
		if got := must(elsewhere.Wait(t.Context(), id))(t); got != 5 || time.Since(begun) != 5*time.Second {
			t.Errorf("got %d after %v", got, time.Since(begun))
		}
		b.SetPlan(fault.Plan{LoseHint: 1}) // news, too
		begun = time.Now()
		must(elsewhere.Wait(t.Context(), must(q.Submit(t.Context(), 5))(t)))(t)
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("without news it took %v", took)
		}
		app := openStarted(t, world)
		id = must(q.Submit(t.Context(), 10))(t)
		failed := make(chan error, 1)
		go func() {
			_, err := af.NewQueue[int, int](app, jobWorker).Wait(t.Context(), id)
			failed <- err
		}()
		synctest.Wait()
		begun = time.Now()
		if err := app.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-failed; !errors.Is(err, af.ErrUnavailable) || time.Since(begun) != 0 {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		must(q.Wait(t.Context(), id))(t) // the task goes on
	})
}

// A submit whose reply was lost is repeated by itself, and subtasks that were refused leave nothing behind.
func TestSubmitIsRepeatedAndRefusedSubtasksAreDiscarded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		process(t, world, fault.Plan{}, jobWorker, func(_ context.Context, n int) (int, error) { return n, errors.New("no") })
		b, q := process(t, world, fault.Plan{}, jobWorker, nil)
		b.Fail("Insert", 1, fault.ReplyLost)
		id := must(q.Submit(t.Context(), 1))(t)
		if err := func() error { _, err := q.Wait(t.Context(), id); return err }(); err == nil {
			t.Fatal("it succeeded")
		}
		_, err := q.Subtasks(t.Context(), id, []int{1, 2})
		wantError(t, err, af.ErrFailedPrecondition, af.OutcomeAnswered, "subtasks of")
		store := must(world.Open(t.Context(), backend.Env{}))(t).Store
		if page := must(store.List(t.Context(), backend.TaskQuery{}))(t); page.Total != 1 {
			t.Errorf("%d tasks", page.Total)
		}
	})
}
