package runtime_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Workers follow hints in the order in which they arrive, but look for the heaviest tasks at least every 5 s.
func TestHeavierTaskIsOvertakenForSecondsOnly(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Max = 1
		const each = 100 * time.Millisecond
		started := make(chan time.Time, 1)
		_, q := work(t, memory.New(memory.HintIDs(4096)), w, func(ctx context.Context, n int) (int, error) {
			if n == 2 {
				started <- time.Now()
			}
			time.Sleep(each)
			return n, nil
		})
		must(q.SubmitMany(t.Context(), slices.Repeat([]int{1}, 1000)))(t)
		time.Sleep(time.Second)
		submitted := time.Now()
		must(q.Submit(t.Context(), 2, af.Weight(10)))(t)
		if took := (<-started).Sub(submitted); took > 5*time.Second+2*each {
			t.Errorf("it started after %v, before it 1,000 lighter tasks of %v were submitted", took, each)
		}
	})
}
