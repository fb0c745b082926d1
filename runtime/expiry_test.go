package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
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

// These tests check when an owner is declared dead, and what a process does that was declared dead but is alive.

// slowCoordinator takes 2 s to announce.
type slowCoordinator struct{ backend.Coordinator }

func (c slowCoordinator) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	time.Sleep(2 * time.Second)
	return c.Coordinator.Announce(ctx, kind, name, facts)
}

// A process with a slow start sends a heartbeat before its first claim. So its counter is young, and a redelivered hint
// does not make it suspected.
func TestSlowStartEndsWithAHeartbeat(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := memory.New()
		app := open(t, altered{b, func(p *backend.Ports) { p.Coordinator = slowCoordinator{p.Coordinator} }})
		af.RegisterWorker(app, jobWorker, &job{})
		begun := time.Now()
		start(t, app)
		ports := must(b.Open(t.Context(), backend.Env{}))(t)
		counts := must(ports.Store.Owners(t.Context()))(t)
		if time.Since(begun) < 2*time.Second || len(counts) != 1 ||
			slices.Collect(maps.Values(counts))[0].Count < 2 {
			t.Errorf("after %v: %v", time.Since(begun), counts)
		}
	})
}

// A live process that was declared dead cancels a run when it claims the same task again, at the latest.
func TestExpiredOwnerContinuesAtItsNextClaim(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
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
		time.Sleep(2*time.Second + time.Millisecond) // long before the next heartbeat
		store := expireAll(t, world)
		begun := time.Now()
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 2))(t)))(t)
		if took := time.Since(begun); took > 500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		must(q.Wait(t.Context(), first))(t)
		if took := time.Since(begun); took > 500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		synctest.Wait() // for the end of the first run
		mu.Lock()
		defer mu.Unlock()
		if len(causes) != 1 || !errors.Is(causes[0], af.ErrLeaseLost) {
			t.Errorf("causes %v", causes)
		}
		if task := must(store.Get(t.Context(), first))(t); task.Fence != 2 || task.Crashes != 0 ||
			string(task.Result) != "1" {
			t.Errorf("%+v", task)
		}
	})
}

// If it has nothing to claim, it learns so from its next heartbeat.
func TestExpiredOwnerStopsItsRunsAtItsNextHeartbeat(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		begun := time.Now()
		var cause error
		var ended time.Duration
		_, q := process(t, world, fault.Plan{}, jobWorker, func(ctx context.Context, n int) (int, error) {
			if af.TaskFrom(ctx).Fence == 1 {
				<-ctx.Done()
				cause, ended = context.Cause(ctx), time.Since(begun)
			}
			return n, nil
		})
		id := must(q.Submit(t.Context(), 1))(t)
		time.Sleep(2500 * time.Millisecond)
		expireAll(t, world)
		must(q.Wait(t.Context(), id))(t)
		if !errors.Is(cause, af.ErrLeaseLost) || ended != 3*time.Second {
			t.Errorf("ended after %v with %v", ended, cause)
		}
	})
}

// lateHeartbeats is a store that receives heartbeats at once and answers late, until it rejects them.
type lateHeartbeats struct {
	backend.Store
	late, gone *atomic.Bool
}

func (l lateHeartbeats) Beat(ctx context.Context, owner string, count int64) error {
	if l.gone.Load() {
		return errDown
	}
	err := l.Store.Beat(ctx, owner, count)
	if l.late.Load() {
		time.Sleep(1900 * time.Millisecond)
	}
	return err
}

// A lease begins when its heartbeat was sent, since others may have seen it then. So runs end within a lease of that
// time, even if the reply was late.
func TestRunsEndWithinALeaseOfTheLastHeartbeat(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var late, gone atomic.Bool
		b := altered{memory.New(), func(p *backend.Ports) { p.Store = lateHeartbeats{p.Store, &late, &gone} }}
		begun := time.Now()
		ended := make(chan time.Duration, 1)
		_, q := work(t, b, jobWorker, func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			select {
			case ended <- time.Since(begun):
			default: // the task runs again once heartbeats are accepted
			}
			return 0, nil
		})
		must(q.Submit(t.Context(), 1))(t)
		time.Sleep(2500 * time.Millisecond)
		late.Store(true)
		time.Sleep(time.Second) // the heartbeat of 3 s is in flight
		gone.Store(true)
		if at := <-ended; at > 19500*time.Millisecond {
			t.Errorf("the last heartbeat arrived at 3 s, and the run ended at %v", at)
		}
		late.Store(false)
		gone.Store(false)
	})
}

// A late reply that an earlier owner of this process has expired has no effect.
func TestLateExpiryOfAnEarlierOwnerStopsNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		late := jobWorker
		late.Name, late.Type = "late", "Late"
		app := open(t, slowChecking(world, late.Name))
		var fences []int64
		for _, w := range []af.Worker{jobWorker, late} {
			af.RegisterWorker(app, w, &job{func(ctx context.Context, n int) (int, error) {
				if n > 0 {
					fences = append(fences, af.TaskFrom(ctx).Fence)
				}
				select {
				case <-time.After(time.Duration(n) * time.Second):
				case <-ctx.Done():
					t.Errorf("the run was stopped: %v", context.Cause(ctx))
				}
				return n, nil
			}})
		}
		start(t, app)
		time.Sleep(2500 * time.Millisecond)
		expireAll(t, world)
		q := af.NewQueue[int, int](app, jobWorker)
		must(af.NewQueue[int, int](app, late).Submit(t.Context(), 0))(t)
		synctest.Wait() // the claim is in flight for a second
		id := must(q.Submit(t.Context(), 3))(t)
		must(q.Wait(t.Context(), id))(t)
		if !slices.Equal(fences, []int64{1}) {
			t.Errorf("fences %v", fences)
		}
	})
}

// A redelivered hint makes only the owner of its task suspected, not others that pause for a moment.
func TestRedeliveredHintSuspectsOneOwner(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New(memory.HintIDs(4096)))
		other := jobWorker
		other.Name, other.Type = "other", "Other"
		bystander, q := process(t, world, fault.Plan{}, other, func(_ context.Context, n int) (int, error) {
			time.Sleep(20 * time.Second)
			return n, nil
		})
		victim, client := process(t, world, fault.Plan{}, jobWorker, func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		time.Sleep(3 * time.Second)
		kept, lost := must(q.Submit(t.Context(), 1))(t), must(client.Submit(t.Context(), 1))(t)
		time.Sleep(5 * time.Second)
		_, client = process(t, world, fault.Plan{}, jobWorker, same)
		time.Sleep(5 * time.Second)
		died := time.Now()
		victim.Crash()
		bystander.Freeze()
		time.Sleep(5 * time.Second)
		bystander.Thaw()
		must(client.Wait(t.Context(), lost))(t)
		must(q.Wait(t.Context(), kept))(t)
		if task := must(client.Get(t.Context(), lost))(t); task.Crashes != 0 || task.Ended.Sub(died) > 5*time.Second {
			t.Errorf("the task of the dead owner has %d crashes and ended after %v", task.Crashes, task.Ended.Sub(died))
		}
		if task := must(client.Get(t.Context(), kept))(t); task.Crashes != 0 || task.Fence != 1 {
			t.Errorf("the task of the other owner has %d crashes and fence %d", task.Crashes, task.Fence)
		}
	})
}

// If processes pause together, as on a machine that was suspended, the first one to resume does not declare the others
// dead.
func TestProcessResumedFirstExpiresNoOwner(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		var sleepers []*fault.Backend
		var q af.Queue[int, int]
		for range 2 {
			var b *fault.Backend
			b, q = process(t, world, fault.Plan{}, jobWorker, same)
			sleepers = append(sleepers, b)
		}
		time.Sleep(2500 * time.Millisecond)
		for _, b := range sleepers {
			b.Freeze()
		}
		time.Sleep(30 * time.Second)
		for _, b := range sleepers {
			b.Thaw()
			time.Sleep(1500 * time.Millisecond)
		}
		time.Sleep(30 * time.Second)
		if list := world.Log().Expiries(); len(list) > 0 {
			t.Errorf("expired: %+v", list)
		}
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t)))(t)
	})
}

// scripted is a backend whose listeners receive only the ids that the test sends to alarms.
func scripted(b af.Backend, alarms chan string) af.Backend {
	return altered{b, func(p *backend.Ports) { p.Transport = scriptedTransport{p.Transport, alarms} }}
}

type scriptedTransport struct {
	backend.Transport
	alarms chan string
}

type scriptedListener struct {
	backend.Listener
	alarms chan string
}

func (a scriptedTransport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	l, err := a.Transport.Listen(ctx, queue, window)
	return scriptedListener{l, a.alarms}, err
}

func (a scriptedListener) Next(ctx context.Context, _ int) ([]backend.Hint, error) {
	select {
	case id := <-a.alarms:
		return []backend.Hint{{ID: id, Redelivered: true, Done: func() {}}}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A single lost heartbeat does not expire an owner, even if it is suspected.
func TestSuspectedOwnerMayMissAHeartbeat(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New(memory.HintIDs(4096)))
		suspect, q := process(t, world, fault.Plan{}, jobWorker, func(_ context.Context, n int) (int, error) {
			time.Sleep(20 * time.Second)
			return n, nil
		})
		id := must(q.Submit(t.Context(), 1))(t)
		time.Sleep(2500 * time.Millisecond)
		alarms := make(chan string)
		_, other := work(t, scripted(world, alarms), jobWorker, same)
		time.Sleep(2 * time.Second)
		alarms <- id
		suspect.Fail("Beat", 1, fault.Refused)
		must(other.Wait(t.Context(), id))(t)
		if task := must(other.Get(t.Context(), id))(t); task.Crashes != 0 || task.Fence != 1 {
			t.Errorf("%d crashes, fence %d", task.Crashes, task.Fence)
		}
	})
}

// expireAll expires all owners of a world, and returns its store.
func expireAll(t *testing.T, world *fault.World) backend.Store {
	t.Helper()
	store := must(world.Open(t.Context(), backend.Env{}))(t).Store
	for name, beat := range must(store.Owners(t.Context()))(t) {
		must(store.ExpireOwner(t.Context(), name, beat.Count, 3))(t)
	}
	return store
}

// unwritable is a backend for one process, whose store can be read but not written while down is set.
func unwritable(b af.Backend, down *atomic.Bool) af.Backend {
	return altered{b, func(p *backend.Ports) { p.Store = unwritableStore{p.Store, down} }}
}

type unwritableStore struct {
	backend.Store
	down *atomic.Bool
}

func (u unwritableStore) Beat(ctx context.Context, owner string, count int64) error {
	if u.down.Load() {
		return errDown
	}
	return u.Store.Beat(ctx, owner, count)
}

func (u unwritableStore) ExpireOwner(
	ctx context.Context, owner string, count int64, maxCrashes int,
) ([]backend.Task, error) {
	if u.down.Load() {
		return nil, errDown
	}
	return u.Store.ExpireOwner(ctx, owner, count, maxCrashes)
}

// A process that can't send heartbeats must not declare others dead: their counters may be unchanged for the same
// reason.
func TestReadOnlyStoreExpiresNoOwnerAfterwards(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		var one, other atomic.Bool
		openStarted(t, unwritable(world, &one))
		openStarted(t, unwritable(world, &other))
		ports, err := world.Open(t.Context(), backend.Env{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		before := must(ports.Store.Owners(t.Context()))(t)
		one.Store(true)
		other.Store(true)
		time.Sleep(15 * time.Second)
		one.Store(false)
		time.Sleep(2500 * time.Millisecond) // the detector is active again, but the other process has not sent a heartbeat
		other.Store(false)
		time.Sleep(15 * time.Second)
		for name := range must(ports.Store.Owners(t.Context()))(t) {
			delete(before, name)
		}
		if len(before) > 0 {
			t.Errorf("expired: %v", before)
		}
	})
}
