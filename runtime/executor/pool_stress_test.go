package executor_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/executor"
)

// Under concurrent submissions, failures, panics and timeouts, the counts add up and every job ends.
func TestCountsAddUpUnderConcurrency(t *testing.T) {
	for seed := range 20 {
		var mine atomic.Int64
		p := executor.Goroutines(func(ctx context.Context, n int) (int, error) {
			mine.Add(1)
			switch n % 7 {
			case 1:
				return 0, errors.New("no")
			case 2:
				panic(n)
			case 3:
				<-ctx.Done()
				return 0, context.Cause(ctx)
			}
			return n, nil
		}, executor.Workers(3), executor.Queue(5), executor.Retries(2), executor.Delay(time.Microsecond),
			executor.Timeout(100*time.Microsecond))
		check(t, "Start", p.Start(t.Context()))
		var wg sync.WaitGroup
		var accepted atomic.Int64
		for range 4 {
			wg.Go(func() {
				for i := range 50 {
					if _, err := p.Submit(t.Context(), i); err == nil {
						accepted.Add(1)
					}
				}
			})
		}
		wg.Go(func() {
			for range 50 {
				if g := p.Progress(); g.Total != g.Queued+g.Running+g.Delayed+g.Ended() {
					t.Errorf("%+v", g)
				}
			}
		})
		if seed%2 == 0 {
			wg.Wait()
			check(t, "Shutdown", p.Shutdown(t.Context()))
		} else {
			time.Sleep(time.Duration(seed) * 100 * time.Microsecond)
			check(t, "Close", p.Close())
			wg.Wait()
		}
		g, runs := p.Progress(), 0
		for _, r := range p.Results() {
			runs += r.Attempts
		}
		if int64(g.Total) != accepted.Load() || g.Ended() != g.Total || len(p.Results()) != g.Total ||
			int64(runs) != mine.Load() {
			t.Errorf("%+v of %d accepted, %d runs of %d", g, accepted.Load(), runs, mine.Load())
		}
	}
}

// A negative timeout has expired. Doubling the longest backoff does not overflow.
func TestDurationLimits(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := executor.Goroutines(func(ctx context.Context, _ int) (int, error) {
			return 0, context.Cause(ctx)
		}, executor.Timeout(-time.Second))
		check(t, "Start", p.Start(t.Context()))
		must(p.Submit(t.Context(), 0))(t)
		check(t, "Shutdown", p.Shutdown(t.Context()))
		if r := p.Results(); len(r) != 1 || !errors.Is(r[0].Err, executor.ErrTimeout) {
			t.Errorf("results %+v", r)
		}

		var runs atomic.Int32
		p = executor.Goroutines(func(context.Context, int) (int, error) {
			runs.Add(1)
			return 0, errors.New("no")
		}, executor.Retries(100), executor.Backoff(math.MaxInt64, math.MaxInt64))
		check(t, "Start", p.Start(t.Context()))
		must(p.Submit(t.Context(), 0))(t)
		time.Sleep(time.Hour)
		if n := runs.Load(); n != 1 {
			t.Errorf("%d runs in an hour", n)
		}
		check(t, "Close", p.Close())
	})
}
