package embedded_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/latency"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

type noop struct{ ran func() }

func (w *noop) Run(_ context.Context, n int) (int, error) {
	w.ran()
	return n, nil
}

var noopWorker = af.Worker{Name: "noop", Type: "Noop", Max: 100, Backoff: time.Second, Weight: 1}

// BenchmarkTasksEndToEnd measures 8 submitters and 100 workers, from the first Submit to the end of the last run.
func BenchmarkTasksEndToEnd(b *testing.B) {
	for _, durability := range []struct {
		name string
		opts []embedded.Option
	}{{"normal", nil}, {"full", []embedded.Option{embedded.FullSync()}}} {
		b.Run(durability.name, func(b *testing.B) {
			var done sync.WaitGroup
			done.Add(b.N)
			app := apptest.Start(b, embedded.File(filepath.Join(b.TempDir(), "af.db"), durability.opts...), func(app *af.App) {
				af.RegisterWorker(app, noopWorker, &noop{done.Done})
			}, af.Retention(0, 0))
			q := af.NewQueue[int, int](app, noopWorker)
			b.ReportAllocs()
			b.ResetTimer()
			latency.Parallel(b, 8, b.N, func(int) error { _, err := q.Submit(b.Context(), 1); return err })
			done.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}

// BenchmarkIdleLatency measures the time from Submit to the start of the run, one task at a time with idle workers: in
// the same App, and in another one that shares only the file with it.
func BenchmarkIdleLatency(b *testing.B) {
	for _, elsewhere := range []bool{false, true} {
		name := "same_app"
		if elsewhere {
			name = "other_app"
		}
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "af.db")
			started := make(chan time.Time, 1)
			app := apptest.Start(b, embedded.File(path), func(app *af.App) {
				af.RegisterWorker(app, noopWorker, &noop{func() { started <- time.Now() }})
			}, af.Retention(0, 0))
			if elsewhere {
				app = apptest.Start(b, embedded.File(path), nil, af.Retention(0, 0))
			}
			q := af.NewQueue[int, int](app, noopWorker)
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				if _, err := q.Submit(b.Context(), 1); err != nil {
					b.Fatal(err)
				}
				took = append(took, (<-started).Sub(start))
			}
			latency.Report(b, took)
		})
	}
}
