package runtime_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A flaky is a transport that is slow, rejects the first hints, and records those that it has accepted.
type flaky struct {
	backend.Transport
	takes time.Duration
	up    bool // returned by State

	mu     sync.Mutex
	refuse int
	taken  []string
}

func (f *flaky) Ids() bool { return true }

func (f *flaky) State() (bool, <-chan struct{}) {
	_, changed := f.Transport.State()
	return f.up, changed
}

func (f *flaky) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	time.Sleep(f.takes)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != 0 {
		f.refuse--
		return nil, backend.NewError(backend.ErrUnavailable, "down").With(backend.OutcomeNotSent)
	}
	f.taken = append(f.taken, ids...)
	return make([]bool, len(ids)), ctx.Err()
}

// Hints of tasks submitted just before a shutdown are published before it ends. A transport that is unavailable delays
// it by a second.
func TestShutdownPublishesHints(t *testing.T) {
	for _, c := range []struct {
		name    string
		refuse  int
		atMost  time.Duration
		arrives bool
	}{{"slow", 0, 300 * time.Millisecond, true}, {"rejected", 1, 2 * time.Second, true}, {"down", -1,
		1500 * time.Millisecond, false}} {
		t.Run(c.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				f := &flaky{takes: 100 * time.Millisecond, refuse: c.refuse, up: true}
				app := openStarted(t, altered{memory.New(), func(p *backend.Ports) {
					f.Transport = p.Transport
					p.Transport = f
				}})
				q := af.NewQueue[int, int](app, jobWorker)
				first := must(q.Submit(t.Context(), 1))(t)
				time.Sleep(10 * time.Millisecond)
				second := must(q.Submit(t.Context(), 2))(t)
				begun := time.Now()
				if err := app.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if took := time.Since(begun); took > c.atMost {
					t.Errorf("Shutdown took %v", took)
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				if got := slices.Contains(f.taken, first) && slices.Contains(f.taken, second); got != c.arrives {
					t.Errorf("hints of %v", f.taken)
				}
			})
		})
	}
}

// A hint that could not be published is published again when the transport is available, before the store returns it as
// pending.
func TestRejectedHintsArePublishedAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := &flaky{refuse: 3, up: true}
		app := openStarted(t, altered{memory.New(), func(p *backend.Ports) {
			f.Transport = p.Transport
			p.Transport = f
		}})
		id := must(af.NewQueue[int, int](app, jobWorker).Submit(t.Context(), 1))(t)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		f.mu.Lock()
		defer f.mu.Unlock()
		if !slices.Contains(f.taken, id) {
			t.Error("the hint is lost")
		}
	})
}
