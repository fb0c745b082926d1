package bulk

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

// A task that is refused fails alone, and only a few are changed at the same time.
func TestEach(t *testing.T) {
	var running, most atomic.Int64
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	r, err := Each(t.Context(), 100, func(_ context.Context, i int) (bool, error) {
		if n := running.Add(1); n == workers {
			open() // all workers are busy
		} else if n > workers {
			most.Store(n)
		}
		defer running.Add(-1)
		if i < workers {
			<-gate
		}
		if i%10 == 3 {
			return false, backend.NewError(backend.ErrFailedPrecondition, "no")
		}
		return i%2 == 0, nil
	})
	if err != nil || r.Changed != 50 || !slices.Equal(r.Failed, []int{3, 13, 23, 33, 43, 53, 63, 73, 83, 93}) {
		t.Errorf("%+v, %v", r, err)
	}
	if most.Load() > 0 {
		t.Errorf("%d at the same time", most.Load())
	}
}

// If the store is unavailable, the rest is left.
func TestEachEndsWithTheStore(t *testing.T) {
	var calls atomic.Int64
	_, err := Each(t.Context(), 1000, func(context.Context, int) (bool, error) {
		calls.Add(1)
		return false, backend.NewError(backend.ErrUnavailable, "down")
	})
	if backend.CodeOf(err) != backend.ErrUnavailable || calls.Load() > workers {
		t.Errorf("%d calls, %v", calls.Load(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Each(ctx, 1, func(context.Context, int) (bool, error) { return true, nil }); err == nil {
		t.Error("no error after ctx has ended")
	}
}
