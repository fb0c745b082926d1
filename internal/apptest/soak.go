package apptest

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// Soak keeps an App busy for a while: another App submits tasks to it, a job fires each second, and finished tasks
// are purged. Goroutines and memory must not grow after the first third, and each accepted task must run.
func Soak(t *testing.T, b af.Backend, while time.Duration) {
	w := &world{T: t, backend: b}
	var ran, submitted atomic.Int64
	soak := af.Worker{Name: "soak", Type: "Soak", Max: 10, Retries: 1, Backoff: 10 * time.Millisecond}
	run := &job{func(ctx context.Context, n int) (int, error) {
		if n%50 == 0 && af.TaskFrom(ctx).Attempt == 1 {
			return 0, errors.New("the first attempt fails")
		}
		ran.Add(1)
		return n, nil
	}}
	keep := af.Retention(time.Second, 1000)
	w.open(func(app *af.App) { af.RegisterWorker(app, soak, run) }, keep)
	q := af.NewQueue[int, int](w.open(nil, keep), soak)
	w.must(q.Schedule(t.Context(), "soak", "* * * * * *", 1))

	ctx, cancel := context.WithTimeout(t.Context(), while)
	defer cancel()
	var submitters sync.WaitGroup
	for range 4 {
		submitters.Go(func() {
			every := time.NewTicker(20 * time.Millisecond)
			defer every.Stop()
			for ctx.Err() == nil {
				if _, err := q.Submit(t.Context(), int(submitted.Add(1))); err != nil {
					t.Errorf("submitting: %v", err)
					return
				}
				select {
				case <-every.C:
				case <-ctx.Done():
				}
			}
		})
	}
	const samples = 12
	var first, last usage
	every := time.NewTicker(while / samples)
	defer every.Stop()
	for i := range samples {
		select {
		case <-every.C:
		case <-ctx.Done():
		}
		last = measure()
		if i == samples/3 {
			first = last
		}
		t.Logf("%d submitted, %d ran, %d goroutines, %d KiB", submitted.Load(), ran.Load(), last.goroutines, last.heap>>10)
	}
	submitters.Wait()
	w.within(patience, "all tasks ran", func() bool { return ran.Load() >= submitted.Load() })
	if last.goroutines > first.goroutines+10 {
		t.Errorf("goroutines grew from %d to %d", first.goroutines, last.goroutines)
	}
	if last.heap > first.heap*3/2+8<<20 {
		t.Errorf("the heap grew from %d KiB to %d KiB", first.heap>>10, last.heap>>10)
	}
}

// A usage is a process's resource usage.
type usage struct {
	goroutines int
	heap       uint64 // reachable bytes
}

func measure() usage {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{runtime.NumGoroutine(), m.HeapAlloc}
}
