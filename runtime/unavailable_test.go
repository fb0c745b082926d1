package runtime_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Without a transport, the throughput of a worker is limited by its slots, not by the poll interval.
func TestFreeSlotsAreFilledWithoutTransport(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := degrade(memory.HintIDs(4096))
		b.noTransport.Store(true)
		w := jobWorker
		w.Max = 5
		_, q := work(t, b, w, func(_ context.Context, n int) (int, error) {
			time.Sleep(10 * time.Millisecond)
			return n, nil
		})
		begun := time.Now()
		for _, id := range must(q.SubmitMany(t.Context(), make([]int, 100)))(t) {
			must(q.Wait(t.Context(), id))(t)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("100 tasks of 10 ms in 5 slots took %v", took)
		}
	})
}

// leaving is a transport that becomes unavailable and reports it.
type leaving struct {
	backend.Transport
	gone chan struct{}
}

func (t leaving) State() (bool, <-chan struct{}) {
	up, _ := t.Transport.State()
	if !up {
		return false, nil
	}
	return true, t.gone
}

func TestWorkerPollsOnceTheTransportIsUnavailable(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d, gone := degrade(memory.HintIDs(4096)), make(chan struct{})
		l := altered{d, func(p *backend.Ports) { p.Transport = leaving{p.Transport, gone} }}
		_, q := work(t, l, jobWorker, same)
		time.Sleep(20*time.Second + 100*time.Millisecond)
		d.noTransport.Store(true)
		close(gone)
		begun := time.Now()
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t)))(t)
		if took := time.Since(begun); took > 2500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// Submit retries while the store is briefly unavailable. Once the store has been unavailable for a lease, it fails at
// once.
func TestSubmitFailsFastIfTheStoreIsUnavailable(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		var inserts atomic.Int64
		b := altered{fault.New(world, 1, fault.Plan{}), func(p *backend.Ports) { p.Store = countedStore{p.Store, &inserts} }}
		q := af.NewQueue[int, int](openStarted(t, b), jobWorker)
		submit := func(want int64) {
			t.Helper()
			inserts.Store(0)
			if _, err := q.Submit(t.Context(), 1); af.CodeOf(err) != af.ErrUnavailable || inserts.Load() != want {
				t.Errorf("%v after %d inserts, want %d", err, inserts.Load(), want)
			}
		}
		world.Down(false)
		submit(4)
		time.Sleep(22 * time.Second)
		submit(1)
		world.Up()
		time.Sleep(2 * time.Second)
		must(q.Submit(t.Context(), 1))(t)
	})
}

// countedStore counts calls of Insert.
type countedStore struct {
	backend.Store
	inserts *atomic.Int64
}

func (s countedStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	s.inserts.Add(1)
	return s.Store.Insert(ctx, tasks)
}
