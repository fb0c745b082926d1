package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// echo is a service that returns its arguments.
type echo struct{}

// callsOf starts an App that serves echo and another one, and returns a function that makes one call from the latter.
func callsOf(tb testing.TB, d *deployment) func() error {
	tb.Helper()
	method := &af.Method[payload, payload]{Service: d.name, Name: "Echo", Timeout: 30 * time.Second}
	d.start(tb, func(app *af.App) {
		af.RegisterService(app, af.Service{Name: d.name, Type: "Echo", Concurrency: 1024}, &echo{},
			af.Bind(method, func(_ context.Context, _ *echo, args payload) (payload, error) { return args, nil }))
	})
	client := af.NewClient(d.start(tb, nil))
	args, ctx := payload{"0123456789"}, tb.Context()
	return func() error {
		reply, err := method.Call(ctx, client, args)
		if err == nil && reply != args {
			err = fmt.Errorf("the reply is %q", reply.Text)
		}
		return err
	}
}

func BenchmarkCall(b *testing.B) {
	onEach(b, func(b *testing.B, k kind) {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
				callMany(b, callers, callsOf(b, k.deploy(b)))
			})
		}
	})
}

// callMany makes b.N calls by so many callers, after one that may have to connect.
func callMany(b *testing.B, callers int, call func() error) {
	if err := call(); err != nil {
		b.Fatal(err)
	}
	latencies := make([]time.Duration, b.N)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				begun := time.Now()
				if err := call(); err != nil {
					b.Error(err)
					return
				}
				latencies[i] = time.Since(begun)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	reportLatencies(b, latencies)
}

// reportLatencies sorts latencies, of which there is one at least, and reports their median and 99th percentile.
func reportLatencies(b *testing.B, latencies []time.Duration) {
	slices.Sort(latencies)
	b.ReportMetric(float64(latencies[len(latencies)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(latencies[len(latencies)*99/100].Nanoseconds())/1e3, "p99-µs")
}
