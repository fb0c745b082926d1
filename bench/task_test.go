package bench

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/latency"
	af "github.com/afgen/afgen/runtime"
)

const (
	slots       = 100 // of a worker
	submitters  = 8
	payloadSize = 128 // bytes
)

// noop is a worker that does nothing. If started is set, it receives the start time of each run.
type noop struct{ started chan<- time.Time }

// Run implements the worker.
func (w *noop) Run(context.Context, payload) error {
	if w.started != nil {
		w.started <- time.Now()
	}
	return nil
}

// worker returns the description that the generator would emit for the worker of d's queue.
func (d *deployment) worker() af.Worker {
	return af.Worker{Name: d.name, Type: "Noop", Max: slots, Backoff: time.Second, Weight: 1}
}

// register returns a function that registers w as the worker of d's queue.
func (d *deployment) register(w *noop) func(*af.App) {
	return func(app *af.App) { af.RegisterVoidWorker(app, d.worker(), w) }
}

// queue returns d's queue for submissions by app.
func (d *deployment) queue(app *af.App) af.VoidQueue[payload] {
	return af.NewVoidQueue[payload](app, d.worker())
}

// submit submits n tasks in batches from several goroutines. It returns when all are stored.
func submit(tb testing.TB, q af.VoidQueue[payload], n, batch, goroutines int) {
	tb.Helper()
	tasks := slices.Repeat([]payload{payloadOf(payloadSize)}, batch)
	ctx := tb.Context()
	var next atomic.Int64
	loop := func() (err error) {
		for err == nil {
			from := int(next.Add(int64(batch))) - batch
			switch {
			case from >= n:
				return nil
			case batch == 1:
				_, err = q.Submit(ctx, tasks[0])
			default:
				_, err = q.SubmitMany(ctx, tasks[:min(batch, n-from)])
			}
		}
		return err
	}
	failed := make(chan error, goroutines)
	for range goroutines {
		go func() { failed <- loop() }()
	}
	for range goroutines {
		if err := <-failed; err != nil {
			tb.Fatal(err)
		}
	}
}

// A timing is a running measurement of b.N tasks.
type timing struct {
	d        *deployment
	calls    counts
	commands counts
}

// begin starts to measure.
func (d *deployment) begin(b *testing.B) timing {
	t := timing{d, d.calls.counts(), d.commands.snapshot()}
	b.ReportAllocs()
	b.ResetTimer()
	return t
}

// end stops measuring, and reports the rate and the cost per task.
func (t timing) end(b *testing.B) {
	b.StopTimer()
	n := float64(b.N)
	b.ReportMetric(n/b.Elapsed().Seconds(), "tasks/s")
	b.ReportMetric(float64(t.d.calls.counts().since(t.calls).total())/n, "storeops/task")
	if t.d.commands != nil {
		b.ReportMetric(float64(t.d.commands.since(t.commands).total())/n, "mongocmds/task")
	}
}

func BenchmarkTask(b *testing.B) {
	onEach(b, func(b *testing.B, k kind) {
		b.Run("submit", func(b *testing.B) { benchmarkSubmit(b, k.deploy(b)) })
		b.Run("end-to-end", func(b *testing.B) { benchmarkEndToEnd(b, k.deploy(b)) })
		b.Run("drain", func(b *testing.B) { benchmarkDrain(b, k.deploy(b)) })
	})
}

func benchmarkSubmit(b *testing.B, d *deployment) {
	q := d.queue(d.start(b, nil))
	t := d.begin(b)
	submit(b, q, b.N, 1, 1)
	t.end(b)
}

func benchmarkEndToEnd(b *testing.B, d *deployment) {
	d.start(b, d.register(&noop{}))
	q := d.queue(d.start(b, nil))
	submit(b, q, 1, 1, 1) // warms up
	d.calls.awaitSettled(b, 1)
	t := d.begin(b)
	submit(b, q, b.N, 1, submitters)
	d.calls.awaitSettled(b, int64(1+b.N))
	t.end(b)
}

func benchmarkDrain(b *testing.B, d *deployment) {
	submit(b, d.queue(d.start(b, nil)), b.N, min(b.N, 1000), 1)
	app := d.open(b, d.register(&noop{}))
	t := d.begin(b)
	if err := app.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	d.calls.awaitSettled(b, int64(b.N))
	t.end(b)
}

// BenchmarkIdle submits one task at a time, after the previous one is settled. Its latency is the time from Submit to
// the start of the run; ns/op is the time until it is settled.
func BenchmarkIdle(b *testing.B) {
	onEach(b, func(b *testing.B, k kind) {
		d := k.deploy(b)
		started := make(chan time.Time, 1)
		d.start(b, d.register(&noop{started}))
		q := d.queue(d.start(b, nil))
		task, latencies := payloadOf(payloadSize), make([]time.Duration, b.N)
		b.ReportAllocs()
		b.ResetTimer()
		for i := range latencies {
			begun := time.Now()
			if _, err := q.Submit(b.Context(), task); err != nil {
				b.Fatal(err)
			}
			latencies[i] = (<-started).Sub(begun)
			d.calls.awaitSettled(b, int64(i+1))
		}
		b.StopTimer()
		latency.Report(b, latencies)
	})
}
