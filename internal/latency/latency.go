// Package latency makes calls in benchmarks, and reports the latency of single calls in addition to the metrics of
// package testing:
//
//	latency.Calls(b, 64, func() error { return client.Ping(ctx) })
//
// A benchmark with its own loop calls [Report] with its measurements. [Parallel] makes calls without measuring them.
package latency

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Calls makes b.N calls from this many goroutines, after one unmeasured call that may have to connect, and reports
// allocations, rate and latencies. A goroutine whose call fails ends, and the benchmark fails.
func Calls(b *testing.B, callers int, call func() error) {
	b.Helper()
	if err := call(); err != nil {
		b.Fatal(err)
	}
	took := make([]time.Duration, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	Parallel(b, callers, b.N, func(i int) error {
		begun := time.Now()
		err := call()
		took[i] = time.Since(begun)
		return err
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	Report(b, took)
}

// Parallel calls do with each number below n, from this many goroutines, and returns when all calls have returned. A
// goroutine whose call fails ends, and the test fails.
func Parallel(t testing.TB, callers, n int, do func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := do(int(i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Report sorts latencies and reports their median and 99th percentile in microseconds. It needs at least one.
func Report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}
