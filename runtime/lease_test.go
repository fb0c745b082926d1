package runtime_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
)

// A process that is unreachable cancels its runs before another one runs its tasks, even if their clocks differ by 2 %.
// It does not cancel them earlier than necessary.
func TestUnreachableProcessCancelsFirst(t *testing.T) {
	for name, c := range map[string]struct {
		lease  time.Duration
		fault  func(b *fault.Backend)
		within time.Duration // until the task runs elsewhere; 0 for never
		keeps  time.Duration // how long the run continues here, at least
	}{
		"store_lost": {10 * time.Second, func(b *fault.Backend) { b.Fail("Beat", 1e6, fault.Refused) },
			20 * time.Second, 6 * time.Second},
		"default_lease": {heartbeat.DefaultLease, func(b *fault.Backend) { b.Fail("Beat", 1e6, fault.Hung) },
			25 * time.Second, 14 * time.Second},
		"store_hangs": {10 * time.Second, func(b *fault.Backend) { b.Fail("Beat", 1e6, fault.Hung) },
			20 * time.Second, 6 * time.Second},
		"store_hangs_lease_60": {time.Minute, func(b *fault.Backend) { b.Fail("Beat", 1e6, fault.Hung) }, 70 * time.Second,
			46 * time.Second},
		"shortest_lease": {3 * time.Second, func(b *fault.Backend) { b.Fail("Beat", 1e6, fault.Hung) },
			12 * time.Second, time.Second}, // released, and hinted again
		"network_lost": {time.Minute, func(b *fault.Backend) { b.Cut(fault.Requests | fault.Replies) },
			12 * time.Second, time.Second},
		"disconnected_and_store_lost": {time.Minute, func(b *fault.Backend) {
			b.Disconnect()
			b.Fail("Beat", 1e6, fault.Hung)
		}, 12 * time.Second, 700 * time.Millisecond},
		"disconnected": {10 * time.Second, func(b *fault.Backend) { b.Disconnect() }, 0, time.Hour},
	} {
		for _, slow := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					rates := map[bool]float64{true: 0.98, false: 1.02}
					world := fault.Around(memory.New(memory.HintIDs(4096)))
					victim := fault.New(world, 1, fault.Plan{ClockRate: rates[slow]})
					cancelled, elsewhere := make(chan time.Time, 1), make(chan time.Time, 1)
					run := func(ctx context.Context, n int) (int, error) {
						if af.TaskFrom(ctx).Fence > 1 {
							elsewhere <- time.Now()
							return n, nil
						}
						select {
						case <-ctx.Done():
							cancelled <- time.Now()
							if !errors.Is(context.Cause(ctx), af.ErrLeaseLost) {
								t.Errorf("cause %v", context.Cause(ctx))
							}
							return 0, ctx.Err()
						case <-time.After(10 * time.Minute):
							return n, nil
						}
					}
					_, q := work(t, victim, jobWorker, run, af.Lease(c.lease))
					id := must(q.Submit(t.Context(), 1))(t)
					synctest.Wait()
					work(t, fault.New(world, 2, fault.Plan{ClockRate: rates[!slow]}), jobWorker, run)
					time.Sleep(3 * time.Second)
					begun := time.Now()
					c.fault(victim)
					if c.within == 0 { // the store is reachable, so the task keeps running
						must(q.Wait(t.Context(), id))(t)
						return
					}
					again := <-elsewhere
					if took := again.Sub(begun); took > c.within {
						t.Errorf("ran elsewhere after %v", took)
					}
					select {
					case at := <-cancelled:
						if !at.Before(again) || at.Sub(begun) < c.keeps {
							t.Errorf("cancelled after %v, ran elsewhere after %v", at.Sub(begun), again.Sub(begun))
						}
					default:
						t.Errorf("not cancelled before it ran elsewhere after %v", again.Sub(begun))
					}
				})
			})
		}
	}
}

// troubledHeartbeats is a store whose heartbeats fail with the error of fail, if there is one.
type troubledHeartbeats struct {
	backend.Store
	fail func(ctx context.Context) error
}

func (s troubledHeartbeats) Beat(ctx context.Context, owner string, count int64) error {
	if err := s.fail(ctx); err != nil {
		return err
	}
	return s.Store.Beat(ctx, owner, count)
}

// With the default lease, nothing is cancelled or runs twice while heartbeats take almost as long as their timeout, or
// fail for as long as an election takes. It makes no difference that another process, with a short lease, is not
// affected and could declare this one dead.
func TestElectionCancelsNothing(t *testing.T) {
	const election = 12 * time.Second
	for name, trouble := range map[string]func(ctx context.Context, since time.Duration) error{
		"slow": func(ctx context.Context, _ time.Duration) error {
			select {
			case <-time.After(1900 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		"refused": func(_ context.Context, since time.Duration) error {
			if since < election {
				return errDown
			}
			return nil
		},
		"hanging": func(ctx context.Context, since time.Duration) error {
			if since < election {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			for offset := range 5 {
				bubble.Test(t, func(t *testing.T) {
					world := memory.New(memory.HintIDs(4096))
					var begun atomic.Pointer[time.Time]
					fail := func(ctx context.Context) error {
						if at := begun.Load(); at != nil {
							return trouble(ctx, time.Since(*at))
						}
						return nil
					}
					victim := altered{world, func(p *backend.Ports) { p.Store = troubledHeartbeats{p.Store, fail} }}
					run := func(ctx context.Context, n int) (int, error) {
						select {
						case <-ctx.Done():
							t.Errorf("cancelled: %v", context.Cause(ctx))
						case <-time.After(time.Minute):
						}
						return n, nil
					}
					_, q := work(t, victim, jobWorker, run)
					id := must(q.Submit(t.Context(), 1))(t)
					synctest.Wait()
					work(t, world, jobWorker, run, af.Lease(3*time.Second))
					time.Sleep(3*time.Second + time.Duration(offset)*220*time.Millisecond)
					now := time.Now()
					begun.Store(&now)
					must(q.Wait(t.Context(), id))(t)
					if task := must(q.Get(t.Context(), id))(t); task.Fence != 1 {
						t.Errorf("it ran %d times", task.Fence)
					}
					begun.Store(nil) // so that the shutdown takes no time
				})
			}
		})
	}
}

// A claim whose reply arrives after its lease has expired runs no tasks.
func TestLateClaimRunsNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		late := jobWorker
		late.Name, late.Type = "late", "Late"
		app := open(t, slow(world, late.Name))
		af.RegisterWorker(app, late, &job{func(ctx context.Context, n int) (int, error) {
			if ctx.Err() != nil || af.TaskFrom(ctx).Fence == 1 {
				t.Errorf("fence %d, %v", af.TaskFrom(ctx).Fence, ctx.Err())
			}
			return n, nil
		}})
		start(t, app)
		time.Sleep(2500 * time.Millisecond)
		q := af.NewQueue[int, int](app, late)
		id := must(q.Submit(t.Context(), 1))(t)
		synctest.Wait() // the claim is in flight for a second
		time.Sleep(400 * time.Millisecond)
		expireAll(t, world)
		must(q.Wait(t.Context(), id))(t)
	})
}

// Open rejects a lease that is too short for cancelling runs in time.
func TestOpenRejectsShortLease(t *testing.T) {
	_, err := af.Open(t.Context(), memory.New(), af.Lease(2*time.Second))
	wantError(t, err, af.ErrInvalidArgument, af.OutcomeUnknown, "lease 2s is too short, want at least 3s")
}
