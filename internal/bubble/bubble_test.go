package bubble_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
)

// Each bubble has timers that elapse together, of which goroutines receive several. With synctest.Test and the race
// detector, on two processors, this test crashes in most runs.
func TestManyTimersElapseTogether(t *testing.T) {
	for range 20 {
		bubble.Test(t, elapseTogether)
	}
}

func elapseTogether(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var goroutines sync.WaitGroup
	for range 30 {
		goroutines.Go(func() {
			a, b := time.NewTicker(time.Second), time.NewTicker(time.Second)
			defer a.Stop()
			defer b.Stop()
			for range 300 {
				select {
				case <-a.C:
				case <-b.C:
				}
				second, stop := context.WithTimeout(ctx, time.Second)
				select {
				case <-a.C:
				case <-b.C:
				case <-second.Done():
				}
				stop()
			}
		})
	}
	goroutines.Wait()
}
