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
)

// In these tests a single call fails or work is left unfinished. They check that it is repaired before the next audit,
// sweep or lease.

// A claim whose reply is lost is repeated with its nonce. The tasks that it claimed run at once, uncharged.
func TestClaimWithLostReplyRunsAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
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

// A settle whose reply is lost is repeated with its nonce and takes effect: waiters are notified, and no claim is
// reported as lost.
func TestSettleWithLostReplyIsApplied(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
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

// Calls that get no reply time out and are repeated. Otherwise a process would stop running tasks.
func TestHangingStoreCallTimesOut(t *testing.T) {
	for _, op := range []string{"Claim", "Settle", "Beat", "Owned", "Owners", "Promote", "Unfinished", "Finish", "Hint",
		"Depth", "Announce", "Publish"} {
		t.Run(op, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
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

// A process whose heartbeats fail claims no tasks, as it would soon have to cancel them.
func TestProcessWithoutHeartbeatsClaimsNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		var sick, well atomic.Int32
		count := func(runs *atomic.Int32) func(context.Context, int) (int, error) {
			return func(_ context.Context, n int) (int, error) { runs.Add(1); return n, nil }
		}
		b, _ := process(t, world, fault.Plan{}, jobWorker, count(&sick))
		_, q := process(t, world, fault.Plan{}, jobWorker, nil)
		b.Fail("Beat", 1000, fault.Refused)
		time.Sleep(11 * time.Second) // more than half a lease
		id := must(q.Submit(t.Context(), 1))(t)
		time.Sleep(time.Minute)
		process(t, world, fault.Plan{}, jobWorker, count(&well))
		must(q.Wait(t.Context(), id))(t)
		if sick.Load() != 0 || well.Load() != 1 {
			t.Errorf("%d runs in the process whose heartbeats fail, %d in the other", sick.Load(), well.Load())
		}
	})
}

// A pool that was woken while it could not claim polls as soon as it can, not only after its poll interval.
func TestPoolPollsAfterFailedClaim(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		b, q := process(t, world, fault.Plan{}, jobWorker, same)
		_, client := process(t, world, fault.Plan{}, jobWorker, nil)
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t)))(t) // its next poll is due in 4 s or more
		b.Fail("Claim", 3, fault.Refused)
		begun := time.Now()
		must(client.Wait(t.Context(), must(client.Submit(t.Context(), 1))(t)))(t)
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("ran after %v", took)
		}
	})
}

// Results that wait to be written for longer than two audits are not considered unknown claims.
func TestUnwrittenResultsAreNotReleased(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := fault.New(fault.Around(memory.New()), 1, fault.Plan{})
		w := jobWorker
		w.Max = 300
		var lines log
		_, q := work(t, b, w, func(_ context.Context, n int) (int, error) {
			time.Sleep(time.Second)
			return n, nil
		}, lines.option())
		ids := must(q.SubmitMany(t.Context(), make([]int, 300)))(t) // more than a batch
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
			t.Errorf("a claim was released although its result was pending: %s", lines.String())
		}
	})
}

// A pool that could not claim because heartbeats failed claims after the first one that succeeds.
func TestPoolClaimsAfterFirstHeartbeat(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		b, q := process(t, world, fault.Plan{}, jobWorker, same)
		_, client := process(t, world, fault.Plan{}, jobWorker, nil)
		time.Sleep(2500 * time.Millisecond)
		b.Fail("Beat", 12, fault.Refused) // the heartbeats from 3 s to 14 s
		time.Sleep(12 * time.Second)
		id := must(client.Submit(t.Context(), 1))(t)
		begun := time.Now()
		must(q.Wait(t.Context(), id))(t)
		if took := time.Since(begun); took != 500*time.Millisecond {
			t.Errorf("ran after %v", took)
		}
	})
}

// Work after the end of a task that failed, since the store was unavailable, is done by the sweeper.
func TestSweeperFinishesEndedTasks(t *testing.T) {
	for _, op := range []string{"Open", "Finish", "Stop"} {
		t.Run(op, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
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
					b.Fail(op, 3, fault.Refused) // for the source and for its subtasks
				}
				time.Sleep(20 * time.Second)
				if s := must(q.Get(t.Context(), source))(t).Subtasks; s == nil || s.Total != 2 {
					t.Errorf("subtasks: %+v", s)
				}
			})
		})
	}
}

// Wait for a task on another instance polls the store, also while the store is unavailable. It ends when its own App
// shuts down.
func TestWaitSurvivesFailures(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
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
		b.SetPlan(fault.Plan{LoseHint: 1}) // loses events, too
		begun = time.Now()
		must(elsewhere.Wait(t.Context(), must(q.Submit(t.Context(), 5))(t)))(t)
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("took %v without events", took)
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
		must(q.Wait(t.Context(), id))(t) // the task keeps running
	})
}

// Submit is repeated if its reply is lost. Subtasks that were rejected leave no tasks behind.
func TestLostSubmitIsRepeatedAndRejectedSubtasksAreDiscarded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		process(t, world, fault.Plan{}, jobWorker, func(_ context.Context, n int) (int, error) { return n, errors.New("no") })
		b, q := process(t, world, fault.Plan{}, jobWorker, nil)
		b.Fail("Insert", 1, fault.ReplyLost)
		id := must(q.Submit(t.Context(), 1))(t)
		if err := func() error { _, err := q.Wait(t.Context(), id); return err }(); err == nil {
			t.Fatal("Subtasks succeeded")
		}
		_, err := q.Subtasks(t.Context(), id, []int{1, 2})
		wantError(t, err, af.ErrFailedPrecondition, af.OutcomeAnswered, "subtasks of")
		store := must(world.Open(t.Context(), backend.Env{}))(t).Store
		if page := must(store.List(t.Context(), backend.TaskQuery{}))(t); page.Total != 1 {
			t.Errorf("%d tasks", page.Total)
		}
	})
}
