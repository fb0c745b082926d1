// Package latency makes the calls of this project's benchmarks, and reports how long single calls take, in addition to what
// package testing reports of all of them:
//
//	latency.Calls(b, 64, func() error { return client.Ping(ctx) })
//
// A benchmark with a loop of its own calls [Report] with what it has measured. [Parallel] makes calls without measuring them.
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

// Parallel calls do with each number below n, from so many goroutines at once, and returns when all calls have returned. A
// goroutine whose call fails ends, and so does the test.
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

// Report sorts what calls took, and reports in microseconds their median and what one in a hundred takes longer than. It
// wants one at least.
func Report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}
