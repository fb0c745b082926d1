package runtime_test

import (
	"context"
	"encoding/json"
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
)

// degraded is a memory backend whose transport or coordinator is unavailable.
type degraded struct {
	af.Backend
	noTransport, noCoordinator *atomic.Bool
}

func degrade(opts ...memory.Option) degraded {
	noTransport, noCoordinator := new(atomic.Bool), new(atomic.Bool)
	return degraded{altered{memory.New(opts...), func(p *backend.Ports) {
		p.Transport = degradedTransport{p.Transport, noTransport}
		p.Coordinator = degradedCoordinator{p.Coordinator, noCoordinator}
	}}, noTransport, noCoordinator}
}

var errDown = backend.NewError(backend.ErrUnavailable, "down").With(backend.OutcomeNotSent)

type degradedTransport struct {
	backend.Transport
	down *atomic.Bool
}

type degradedListener struct {
	backend.Listener
	down *atomic.Bool
}

type degradedCoordinator struct {
	backend.Coordinator
	down *atomic.Bool
}

func (d degradedTransport) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	if d.down.Load() {
		return nil, errDown
	}
	return d.Transport.Hint(ctx, queue, ids)
}

func (d degradedTransport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	l, err := d.Transport.Listen(ctx, queue, window)
	return degradedListener{l, d.down}, err
}

func (d degradedTransport) State() (bool, <-chan struct{}) {
	up, changed := d.Transport.State()
	return up && !d.down.Load(), changed
}

func (d degradedListener) Next(ctx context.Context, max int) ([]backend.Hint, error) {
	if d.down.Load() {
		return nil, errDown
	}
	return d.Listener.Next(ctx, max)
}

func (d degradedCoordinator) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	if d.down.Load() {
		return errDown
	}
	return d.Coordinator.Announce(ctx, kind, name, facts)
}

func (d degradedCoordinator) Publish(ctx context.Context, topic string, news json.RawMessage) error {
	if d.down.Load() {
		return errDown
	}
	return d.Coordinator.Publish(ctx, topic, news)
}

func (d degradedCoordinator) Subscribe(ctx context.Context, topic string, fn func(json.RawMessage)) error {
	if d.down.Load() {
		return errDown
	}
	return d.Coordinator.Subscribe(ctx, topic, fn)
}

func TestWithoutTransportWorkersPoll(t *testing.T) {
	for name, opts := range map[string][]memory.Option{"wake-ups": nil, "hints_with_ids": {memory.HintIDs(4096)}} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				d := degrade(opts...)
				d.noTransport.Store(true)
				_, q := work(t, d, jobWorker, same)
				time.Sleep(10 * time.Second) // longer than a poll interval
				begun := time.Now()
				if got := must(q.Wait(t.Context(), must(q.Submit(t.Context(), 3))(t)))(t); got != 3 {
					t.Errorf("got %d", got)
				}
				if took := time.Since(begun); took > 2*time.Second {
					t.Errorf("ran after %v", took)
				}
				d.noTransport.Store(false)
				time.Sleep(10 * time.Second)
				begun = time.Now()
				must(q.Wait(t.Context(), must(q.Submit(t.Context(), 3))(t)))(t)
				if took := time.Since(begun); took != 0 {
					t.Errorf("hints have no effect again: ran after %v", took)
				}
			})
		})
	}
}

func TestWithoutCoordinatorAuditsFindStops(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := degrade()
		d.noCoordinator.Store(true)
		var cause error
		_, q := work(t, d, jobWorker, func(ctx context.Context, n int) (int, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return 0, ctx.Err()
		})
		elsewhere := openStarted(t, d)
		id := must(q.Submit(t.Context(), 1))(t)
		synctest.Wait()
		begun := time.Now()
		if err := elsewhere.StopTask(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrAborted, af.OutcomeAnswered, "stopped")
		if took := time.Since(begun); took > 5*time.Second || !errors.Is(cause, af.ErrTaskStopped) {
			t.Errorf("stopped after %v with %v", took, cause)
		}
	})
}

func TestWithoutCoordinatorWaitPolls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := degrade()
		d.noCoordinator.Store(true)
		app, q := work(t, d, jobWorker, func(ctx context.Context, n int) (int, error) {
			select {
			case <-time.After(5 * time.Second):
				return n, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
		elsewhere := af.NewQueue[int, int](openStarted(t, d), jobWorker)
		begun := time.Now()
		must(elsewhere.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t)))(t)
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("took %v", took)
		}
		d.noCoordinator.Store(false)
		time.Sleep(10 * time.Second)
		begun = time.Now()
		must(elsewhere.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t)))(t)
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("events have no effect again: took %v", took)
		}
		d.noCoordinator.Store(true)
		// A stop on the instance that runs the task needs no event.
		id := must(q.Submit(t.Context(), 1))(t)
		synctest.Wait()
		begun = time.Now()
		if err := app.StopTask(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrAborted, af.OutcomeAnswered, "stopped")
		if took := time.Since(begun); took != 0 {
			t.Errorf("stopped after %v", took)
		}
	})
}

// A handler that succeeds after its task was stopped does not know of the stop: its result is discarded.
func TestSuccessAfterStopIsDiscarded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := degrade()
		d.noCoordinator.Store(true)
		_, q := work(t, d, jobWorker, func(_ context.Context, n int) (int, error) {
			time.Sleep(500 * time.Millisecond)
			return n, nil
		})
		elsewhere := openStarted(t, d)
		id := must(q.Submit(t.Context(), 1))(t)
		synctest.Wait()
		begun := time.Now()
		if err := elsewhere.StopTask(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrAborted, af.OutcomeAnswered, "stopped")
		if took := time.Since(begun); took != 500*time.Millisecond {
			t.Errorf("stopped after %v", took)
		}
		if task := must(q.Get(t.Context(), id))(t); task.Result != nil {
			t.Errorf("the result was kept: %s", task.Result)
		}
	})
}

// The hints of a dead process that it has not acknowledged are redelivered to another at once.
func TestHintsOfADeadProcessAreRedelivered(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New(memory.HintIDs(4096)))
		one := jobWorker
		one.Max = 1
		busy := make(chan struct{}, 1)
		victim, _ := process(t, world, fault.Plan{}, one, hang(busy))
		_, q := process(t, world, fault.Plan{}, one, nil)
		must(q.Submit(t.Context(), 1))(t)
		<-busy
		waiting := must(q.Submit(t.Context(), 2))(t) // its hint is at the victim, whose slot is occupied
		synctest.Wait()
		_, other := process(t, world, fault.Plan{}, one, same)
		begun := time.Now()
		victim.Crash()
		if got := must(other.Wait(t.Context(), waiting))(t); got != 2 || time.Since(begun) > time.Second {
			t.Errorf("got %d after %v", got, time.Since(begun))
		}
	})
}

// If hints carry ids, that of a running task is redelivered when its process dies. Then two missed heartbeats expire
// the owner.
func TestSuspectedDeadOwnerExpiresWithinThreeSeconds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New(memory.HintIDs(4096)))
		begun := make(chan struct{}, 1)
		victim, _ := process(t, world, fault.Plan{}, jobWorker, hang(begun))
		_, q := process(t, world, fault.Plan{}, jobWorker, nil)
		id := must(q.Submit(t.Context(), 5))(t)
		<-begun
		synctest.Wait() // its first poll may have found the task before its hint, which must not go to the other process
		_, other := process(t, world, fault.Plan{}, jobWorker, same)
		time.Sleep(5 * time.Second)
		victim.Crash()
		died := time.Now()
		if got := must(other.Wait(t.Context(), id))(t); got != 5 {
			t.Errorf("got %d", got)
		}
		if took := time.Since(died); took < time.Second || took > 4*time.Second {
			t.Errorf("running again after %v, want about 3 s", took)
		}
	})
}

// A suspected owner that sends heartbeats keeps its task.
func TestSuspectedOwnerWithHeartbeatsKeepsItsTask(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := degrade(memory.HintIDs(4096))
		var runs atomic.Int32
		run := func(_ context.Context, n int) (int, error) {
			runs.Add(1)
			time.Sleep(30 * time.Second)
			return n, nil
		}
		_, q := work(t, redelivering(d), jobWorker, run)
		work(t, redelivering(d), jobWorker, run)
		id := must(q.Submit(t.Context(), 1))(t)
		must(q.Wait(t.Context(), id))(t)
		if task := must(q.Get(t.Context(), id))(t); runs.Load() != 1 || task.Crashes != 0 {
			t.Errorf("%d runs, %d crashes", runs.Load(), task.Crashes)
		}
	})
}

// redelivering is a backend that sends every hint twice and marks it as redelivered.
func redelivering(b af.Backend) af.Backend {
	return altered{b, func(p *backend.Ports) { p.Transport = redeliveringTransport{p.Transport} }}
}

type redeliveringTransport struct{ backend.Transport }

type redeliveringListener struct{ backend.Listener }

func (s redeliveringTransport) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	if _, err := s.Transport.Hint(ctx, queue, ids); err != nil {
		return nil, err
	}
	return s.Transport.Hint(ctx, queue, ids)
}

func (s redeliveringTransport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	l, err := s.Transport.Listen(ctx, queue, window)
	return redeliveringListener{l}, err
}

func (s redeliveringListener) Next(ctx context.Context, max int) ([]backend.Hint, error) {
	hints, err := s.Listener.Next(ctx, max)
	for i := range hints {
		hints[i].Redelivered = true
	}
	return hints, err
}

// watcher is a store that knows which processes are dead.
type watcher struct {
	backend.Store
	dead   *atomic.Bool // all others are
	deaths chan struct{}
}

func (w watcher) Deaths() <-chan struct{} { return w.deaths }

func (w watcher) Dead(_ context.Context, owners []string) ([]string, error) {
	if w.dead.Load() {
		return owners, nil
	}
	return nil, nil
}

func TestProcessWatcherExpiresDeadOwnersAtOnce(t *testing.T) {
	t.Run("told", func(t *testing.T) { deadProcess(t, true) })
	t.Run("at_next_check", func(t *testing.T) { deadProcess(t, false) })
}

func deadProcess(t *testing.T, told bool) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		begun := make(chan struct{}, 1)
		victim, _ := process(t, world, fault.Plan{}, jobWorker, hang(begun))
		_, q := process(t, world, fault.Plan{}, jobWorker, nil)
		id := must(q.Submit(t.Context(), 5))(t)
		<-begun
		var dead atomic.Bool
		deaths := make(chan struct{}, 1)
		b := altered{fault.New(world, 1, fault.Plan{}), func(p *backend.Ports) { p.Store = watcher{p.Store, &dead, deaths} }}
		_, other := work(t, b, jobWorker, same)
		time.Sleep(15 * time.Second)
		if task := must(other.Get(t.Context(), id))(t); task.Fence != 1 {
			t.Errorf("claimed from a live process: fence %d", task.Fence)
		}
		victim.Crash()
		dead.Store(true)
		if told {
			deaths <- struct{}{}
		}
		died := time.Now()
		if got := must(other.Wait(t.Context(), id))(t); got != 5 {
			t.Errorf("got %d", got)
		}
		// a suspected task waits for a second
		if took := time.Since(died); told && took > time.Second || took > 2100*time.Millisecond {
			t.Errorf("told: %v; running again after %v", told, took)
		}
		dead.Store(false)
	})
}
