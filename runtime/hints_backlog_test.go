package runtime_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A backlog that exceeds the hints that the transport can hold is processed at the speed of its worker.
func TestBacklogLargerThanTheHintsIsProcessed(t *testing.T) {
	held := testkit.Fewer(4096, 1024) // hints that the transport can hold
	tasks := 5 * held / 2
	for name, submit := range map[string]func(t *testing.T, q af.Queue[int, int]){
		"submitted": func(t *testing.T, q af.Queue[int, int]) { must(q.SubmitMany(t.Context(), make([]int, tasks)))(t) },
		"stored": func(t *testing.T, q af.Queue[int, int]) {
			for range tasks {
				must(q.Store(t.Context(), 1))(t)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				done := make(chan bool, tasks)
				_, q := work(t, memory.New(memory.HintIDs(held)), jobWorker, func(context.Context, int) (int, error) {
					time.Sleep(time.Millisecond)
					done <- true
					return 0, nil
				})
				begun := time.Now()
				submit(t, q)
				for range tasks {
					<-done
				}
				if took := time.Since(begun); took > 5*time.Second { // four at a time take at least 2.5 s
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// When a process dies, more hints may be redelivered than a queue can hold. No task is lost or delayed for long.
func TestMoreRedeliveredHintsThanAQueueHolds(t *testing.T) {
	held := testkit.Fewer(4096, 1024) // hints that the transport can hold
	tasks, running := 9*held/4, 9*held/8
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New(memory.HintIDs(held)))
		large := jobWorker
		large.Max = running
		var begun, done atomic.Int64
		victim, _ := process(t, world, fault.Plan{}, large, func(ctx context.Context, n int) (int, error) {
			begun.Add(1)
			<-ctx.Done()
			return 0, ctx.Err()
		})
		_, q := process(t, world, fault.Plan{}, jobWorker, nil)
		must(q.SubmitMany(t.Context(), make([]int, tasks)))(t)
		for begun.Load() < int64(running) {
			time.Sleep(time.Second)
		}
		synctest.Wait()
		process(t, world, fault.Plan{}, jobWorker, func(context.Context, int) (int, error) {
			time.Sleep(time.Millisecond)
			done.Add(1)
			return 0, nil
		})
		victim.Crash()
		died := time.Now()
		// 3 s until the owner is declared dead, plus 1 ms × 9,000 / 4
		for done.Load() < int64(tasks) && time.Since(died) < 20*time.Second {
			time.Sleep(100 * time.Millisecond)
		}
		if n := done.Load(); n != int64(tasks) {
			t.Errorf("%d tasks of %d have run %v after the death of their process", n, tasks, time.Since(died))
		}
	})
}

// A backlog drains at the speed of its worker although the transport reports its depth late.
func TestBacklogDrainsDespiteLateDepth(t *testing.T) {
	const tasks = 2000
	bubble.Test(t, func(t *testing.T) {
		b := altered{memory.New(memory.HintIDs(64)), func(p *backend.Ports) {
			p.Transport = &lateDepth{Transport: p.Transport}
		}}
		done := make(chan bool, tasks)
		_, q := work(t, b, jobWorker, func(context.Context, int) (int, error) {
			time.Sleep(time.Millisecond)
			done <- true
			return 0, nil
		})
		for range tasks {
			must(q.Store(t.Context(), 1))(t)
		}
		begun := time.Now()
		for range tasks {
			<-done
		}
		if took := time.Since(begun); took > 4*time.Second { // four at a time take at least 0.5 s
			t.Errorf("it took %v", took)
		}
	})
}

// lateDepth is a transport whose depth is as old as possible.
type lateDepth struct {
	backend.Transport

	mu    sync.Mutex
	depth int
	read  time.Time
}

func (l *lateDepth) Depth(ctx context.Context, queue string) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.read) < backend.MaxDepthAge {
		return l.depth, nil
	}
	depth, err := l.Transport.Depth(ctx, queue)
	if err == nil {
		l.depth, l.read = depth, time.Now()
	}
	return depth, err
}

// Polls that claim many tasks at once make hints needless: each would cost an update of its task and a message.
func TestBacklogIsPolledInsteadOfHinted(t *testing.T) {
	const tasks = 5000
	bubble.Test(t, func(t *testing.T) {
		counted := new(atomic.Int64)
		b := altered{memory.New(memory.HintIDs(4096)), func(p *backend.Ports) {
			p.Transport, p.Store = &countedHints{Transport: p.Transport, total: counted}, slowClaims{p.Store, nil}
		}}
		w, begun := jobWorker, time.Now()
		w.Max = 100
		done := make(chan bool, tasks)
		_, q := work(t, b, w, func(context.Context, int) (int, error) {
			time.Sleep(20*time.Millisecond - time.Since(begun)%(20*time.Millisecond)) // many end at once
			done <- true
			return 0, nil
		})
		for range tasks {
			must(q.Store(t.Context(), 1))(t)
		}
		for range tasks {
			<-done
		}
		if n := counted.Load(); n > tasks/5 {
			t.Errorf("%d hints for %d tasks", n, tasks)
		}
	})
}

// slowClaims is a store that needs as long for a claim as a server, so that meanwhile more slots become free.
type slowClaims struct {
	backend.Store
	claims *atomic.Int64 // counts them, unless it is nil
}

func (s slowClaims) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	if s.claims != nil {
		s.claims.Add(1)
	}
	time.Sleep(time.Millisecond)
	return s.Store.Claim(ctx, c)
}

// countedHints is a transport that adds the hints it publishes to total.
type countedHints struct {
	backend.Transport
	total *atomic.Int64
}

func (c *countedHints) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	c.total.Add(int64(len(ids)))
	return c.Transport.Hint(ctx, queue, ids)
}

// The hints of submitters are not published again by the dispatcher while workers keep up.
func TestSubmittersHintsAreNotDoubled(t *testing.T) {
	const tasks = 4000
	bubble.Test(t, func(t *testing.T) {
		counted := new(atomic.Int64)
		b := altered{memory.New(memory.HintIDs(4096)), func(p *backend.Ports) {
			p.Transport, p.Store = &countedHints{Transport: p.Transport, total: counted}, slowClaims{p.Store, nil}
		}}
		w := jobWorker
		w.Max = 100
		done := make(chan bool, tasks)
		work(t, b, w, func(context.Context, int) (int, error) {
			time.Sleep(20 * time.Millisecond)
			done <- true
			return 0, nil
		})
		q := af.NewQueue[int, int](openStarted(t, b), w)
		for range 8 {
			go func() {
				for range tasks / 8 {
					must(q.Submit(t.Context(), 1))(t)
					time.Sleep(4 * time.Millisecond) // together 2,000 a second
				}
			}()
		}
		for range tasks {
			<-done
		}
		if n := counted.Load(); n < tasks || n > tasks*11/10 {
			t.Errorf("%d hints for %d tasks", n, tasks)
		}
	})
}

// When handlers return at the same time, one claim fills all their slots.
func TestClaimFillsAllSlots(t *testing.T) {
	const tasks = 1000
	bubble.Test(t, func(t *testing.T) {
		var claims atomic.Int64
		b := altered{memory.New(memory.HintIDs(4096)), func(p *backend.Ports) { p.Store = slowClaims{p.Store, &claims} }}
		w := jobWorker
		w.Max = 10
		done := make(chan bool, tasks)
		_, q := work(t, b, w, func(context.Context, int) (int, error) {
			done <- true
			return 0, nil
		})
		must(q.SubmitMany(t.Context(), make([]int, tasks)))(t)
		for range tasks {
			<-done
		}
		if n := claims.Load(); n > tasks/10*3/2 {
			t.Errorf("%d claims of %d tasks, ten at once", n, tasks)
		}
	})
}
