package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/latency"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// These benchmarks run no-op tasks on the memory backend, 100 at once. BenchmarkBareChannel does the same work over a
// channel, which stores nothing, for comparison.

type noop struct{ ran func(n int) }

func (w *noop) Run(_ context.Context, n int) (int, error) {
	if w.ran != nil {
		w.ran(n)
	}
	return n, nil
}

var noopWorker = af.Worker{Name: "noop", Type: "Noop", Max: 100, Backoff: time.Second, Weight: 1}

// benchQueue starts an App with a worker that calls ran, and returns its queue.
func benchQueue(b *testing.B, ran func(int)) af.Queue[int, int] {
	b.Helper()
	app := apptest.Start(b, memory.New(), func(app *af.App) { af.RegisterWorker(app, noopWorker, &noop{ran}) },
		af.Retention(0, 0))
	return af.NewQueue[int, int](app, noopWorker)
}

// BenchmarkTasksEndToEnd measures 8 submitters and 100 concurrent workers, from the first Submit to the end of the last
// run.
func BenchmarkTasksEndToEnd(b *testing.B) {
	for _, stored := range []int{0, 1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("stored=%d", stored), func(b *testing.B) {
			var done sync.WaitGroup
			q := benchQueue(b, func(int) { done.Done() })
			submit := func(n, submitters int) {
				done.Add(n)
				latency.Parallel(b, submitters, n, func(int) error { _, err := q.Submit(b.Context(), 1); return err })
				done.Wait()
			}
			submit(stored, 8)
			b.ReportAllocs()
			b.ResetTimer()
			submit(b.N, 8)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}

// BenchmarkBareChannel has the same submitters, workers, payloads and results, but uses a channel.
func BenchmarkBareChannel(b *testing.B) {
	payloads := make(chan []byte, 1024)
	var done sync.WaitGroup
	done.Add(b.N)
	for range 100 {
		go func() {
			for raw := range payloads {
				var n int
				if err := json.Unmarshal(raw, &n); err != nil {
					b.Error(err)
				}
				if _, err := json.Marshal(n); err != nil {
					b.Error(err)
				}
				done.Done()
			}
		}()
	}
	b.ReportAllocs()
	b.ResetTimer()
	latency.Parallel(b, 8, b.N, func(int) error {
		raw, err := json.Marshal(1)
		payloads <- raw
		return err
	})
	done.Wait()
	close(payloads)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkDrain measures how fast 100 workers run tasks that are already stored.
func BenchmarkDrain(b *testing.B) {
	world := memory.New()
	submitter := apptest.Start(b, world, nil)
	q := af.NewQueue[int, int](submitter, noopWorker)
	if _, err := q.SubmitMany(b.Context(), make([]int, b.N)); err != nil {
		b.Fatal(err)
	}
	var done sync.WaitGroup
	done.Add(b.N)
	app := apptest.Open(b, world)
	af.RegisterWorker(app, noopWorker, &noop{func(int) { done.Done() }})
	b.ReportAllocs()
	b.ResetTimer()
	if err := app.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	done.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkIdleLatency measures the time from Submit to the start of the run, for one task at a time and idle workers.
func BenchmarkIdleLatency(b *testing.B) {
	started := make(chan time.Time, 1)
	q := benchQueue(b, func(int) { started <- time.Now() })
	var took []time.Duration
	for b.Loop() {
		begun := time.Now()
		if _, err := q.Submit(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-started).Sub(begun))
	}
	latency.Report(b, took)
}
