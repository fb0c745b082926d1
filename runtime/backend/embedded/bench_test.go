package embedded_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

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

// openApp opens an App on a file and shuts it down when the benchmark ends.
func openApp(b *testing.B, path string, opts ...embedded.Option) *af.App {
	b.Helper()
	app, err := af.Open(b.Context(), embedded.File(path, opts...), af.Logger(slog.New(slog.DiscardHandler)), af.Retention(0, 0))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := app.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return app
}

func start(b *testing.B, app *af.App) {
	b.Helper()
	if err := app.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkTasksEndToEnd: 8 submitters and 100 workers at once, from the first Submit to the end of the last run.
func BenchmarkTasksEndToEnd(b *testing.B) {
	for _, durability := range []struct {
		name string
		opts []embedded.Option
	}{{"normal", nil}, {"full", []embedded.Option{embedded.FullSync()}}} {
		b.Run(durability.name, func(b *testing.B) {
			app := openApp(b, filepath.Join(b.TempDir(), "af.db"), durability.opts...)
			var done sync.WaitGroup
			done.Add(b.N)
			af.RegisterWorker(app, noopWorker, &noop{done.Done})
			start(b, app)
			q := af.NewQueue[int, int](app, noopWorker)
			b.ReportAllocs()
			b.ResetTimer()
			latency.Parallel(b, 8, b.N, func(int) error { _, err := q.Submit(b.Context(), 1); return err })
			done.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}

// BenchmarkIdleLatency: one task at a time through idle workers, from Submit to the begin of its run; in the same App, and
// in another on the same file, which shares nothing else with it.
func BenchmarkIdleLatency(b *testing.B) {
	for _, elsewhere := range []bool{false, true} {
		name := "same_app"
		if elsewhere {
			name = "other_app"
		}
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "af.db")
			app := openApp(b, path)
			started := make(chan time.Time, 1)
			af.RegisterWorker(app, noopWorker, &noop{func() { started <- time.Now() }})
			start(b, app)
			if elsewhere {
				app = openApp(b, path)
				start(b, app)
			}
			q := af.NewQueue[int, int](app, noopWorker)
			var took []time.Duration
			for b.Loop() {
				begun := time.Now()
				if _, err := q.Submit(b.Context(), 1); err != nil {
					b.Fatal(err)
				}
				took = append(took, (<-started).Sub(begun))
			}
			latency.Report(b, took)
		})
	}
}
