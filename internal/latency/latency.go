// Package latency is how this project's benchmarks report what single calls took, beside what testing reports of all:
//
//	latency.Calls(b, 64, func() error { return client.Ping(ctx) })
//
// or, where a benchmark has a loop of its own, [Report] of what it has measured.
package latency

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Calls makes b.N calls from so many goroutines at once, after one that doesn't count since it may have to connect, and
// reports their allocations, their rate and what each took. A goroutine whose call fails ends, and so does the benchmark.
func Calls(b *testing.B, callers int, call func() error) {
	b.Helper()
	if err := call(); err != nil {
		b.Fatal(err)
	}
	took := make([]time.Duration, b.N)
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
				took[i] = time.Since(begun)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	Report(b, took)
}

// Report sorts what calls took, and reports in microseconds their median and what one in a hundred takes longer than. It
// wants one at least.
func Report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}
