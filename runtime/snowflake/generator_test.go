package snowflake

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
)

// A place has documents that can become unavailable and a clock that can be set.
type place struct {
	backend.Docs
	away atomic.Bool
	set  atomic.Int64 // added to the clock
}

func (p *place) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	if p.away.Load() {
		return 0, backend.NewError(backend.ErrUnavailable, "away")
	}
	return p.Docs.PutIf(ctx, name, rev, value)
}

// start returns a generator in a synctest bubble.
func (p *place) start(t *testing.T) *Generator {
	t.Helper()
	if p.Docs == nil {
		p.Docs = openDocs(t)
	}
	g, err := New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	wall := g.clock.wall
	g.mu.Lock()
	g.clock.wall = func() time.Time { return wall().Add(time.Duration(p.set.Load())) }
	g.mu.Unlock()
	return g
}

func (g *Generator) must(t *testing.T) ID {
	t.Helper()
	id, err := g.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// inYear2026 runs f in a bubble with a clock in 2026; bubbles begin in 2000.
func inYear2026(t *testing.T, f func(t *testing.T)) {
	bubble.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)))
		f(t)
	})
}

func TestReservedIDsNeedNoBackend(t *testing.T) {
	inYear2026(t, func(t *testing.T) {
		var p place
		g := p.start(t)
		defer g.Close(context.Background())
		time.Sleep(10 * time.Minute) // the reservation is extended meanwhile
		g.must(t)
		p.away.Store(true)
		time.Sleep(lease/2 + time.Second)
		g.must(t)
		time.Sleep(lease)
		begun := time.Now()
		if _, err := g.Next(t.Context()); !errors.Is(err, backend.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
		if d := time.Since(begun); d > opTimeout {
			t.Errorf("the error took %v", d)
		}
		p.away.Store(false)
		g.must(t) // immediately
	})
}

func TestLostNumberIsReplaced(t *testing.T) {
	inYear2026(t, func(t *testing.T) {
		var p place
		g := p.start(t)
		defer g.Close(context.Background())
		first := g.must(t)
		doc, err := p.Get(t.Context(), name(int64(first.Node())))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.PutIf(t.Context(), doc.Name, doc.Revision,
			json.RawMessage(`{"owner":"another","until":1}`)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lease)
		if id := g.must(t); id.Node() == first.Node() || id <= first {
			t.Errorf("%v after %v", id, first)
		}
	})
}

func TestCloseReleasesNumber(t *testing.T) {
	inYear2026(t, func(t *testing.T) {
		var p place
		last := ID(0)
		for range 5 {
			g := p.start(t)
			for range 5000 { // it ends with ids ahead of the clock
				last = max(last, g.must(t))
			}
			if err := g.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := g.Next(t.Context()); !errors.Is(err, backend.ErrFailedPrecondition) {
				t.Errorf("after Close: %v", err)
			}
		}
		docs, err := p.List(t.Context(), prefix)
		if err != nil || len(docs) != 1 {
			t.Errorf("%d numbers in use, %v", len(docs), err)
		}
		g := p.start(t)
		defer g.Close(context.Background())
		if id := g.must(t); id <= last {
			t.Errorf("%v after %v", id, last)
		}
	})
}

// Numbers of dead processes are free after a lease, on any process's clock.
func TestNumbersOfDeadProcessesAreRecovered(t *testing.T) {
	inYear2026(t, func(t *testing.T) {
		var p place
		dead := p.start(t)
		dead.end() // it dies silently
		<-dead.ended
		g := p.start(t)
		defer g.Close(context.Background())
		time.Sleep(3 * time.Minute)
		h := p.holding(t, dead.node)
		if h.Owner != "" {
			t.Errorf("still %q's", h.Owner)
		}
		if h := p.holding(t, g.node); h.Owner == "" {
			t.Error("the live process lost its number")
		}
	})
}

func (p *place) holding(t *testing.T, node int64) holding {
	t.Helper()
	doc, err := p.Get(t.Context(), name(node))
	if err != nil {
		t.Fatal(err)
	}
	h, _ := read(doc)
	return h
}

func TestClockSetBackALittle(t *testing.T) {
	inYear2026(t, func(t *testing.T) {
		var p place
		g := p.start(t)
		defer g.Close(context.Background())
		last := g.must(t)
		p.set.Store(-int64(4 * time.Second))
		for range 100 {
			id := g.must(t)
			if id <= last || id.Node() != last.Node() {
				t.Fatalf("%v after %v", id, last)
			}
			last = id
		}
	})
}

func TestClockSetFarBackTakesAnotherNumber(t *testing.T) {
	inYear2026(t, func(t *testing.T) {
		var p place
		g := p.start(t)
		defer g.Close(context.Background())
		first := g.must(t)
		p.set.Store(-int64(time.Hour))
		id := g.must(t)
		if id.Node() == first.Node() || time.Since(id.Time()) < 50*time.Minute {
			t.Errorf("%v after %v", id, first)
		}
		time.Sleep(2 * time.Hour) // the clock has caught up and the number is free
		p.set.Store(-int64(4 * time.Hour))
		if third := g.must(t); third.Node() == id.Node() {
			t.Errorf("%v after %v", third, id)
		}
		p.set.Store(-int64(time.Hour) * 24 * 365 * 30)
		if _, err := g.Next(t.Context()); !errors.Is(err, backend.ErrFailedPrecondition) {
			t.Errorf("before the epoch: %v", err)
		}
	})
}

// More than 4096 ids a millisecond use up the next 5 s; then Next waits.
func TestNextWaitsWhenAhead(t *testing.T) {
	inYear2026(t, func(t *testing.T) {
		var p place
		g := p.start(t)
		defer g.Close(context.Background())
		g.must(t)
		g.mu.Lock()
		g.last += maxAhead // as if these ids existed
		g.mu.Unlock()
		begun := time.Now()
		for range 3 * (maxSeq + 1) {
			g.must(t)
		}
		if d := time.Since(begun); d < 2*time.Millisecond || d > 4*time.Millisecond {
			t.Errorf("waited %v", d)
		}
		g.mu.Lock()
		g.last += 100
		g.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := g.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCloseWakesWaiters(t *testing.T) {
	inYear2026(t, func(t *testing.T) {
		var p place
		g := p.start(t)
		p.away.Store(true)
		g.mu.Lock()
		g.until = 0
		g.mu.Unlock()
		g.end() // no keeper replies
		<-g.ended
		done := make(chan error)
		go func() {
			_, err := g.Next(context.Background())
			done <- err
		}()
		synctest.Wait()
		_ = g.Close(t.Context())
		if err := <-done; !errors.Is(err, backend.ErrFailedPrecondition) {
			t.Errorf("got %v", err)
		}
	})
}

func TestGoroutinesShareAGenerator(t *testing.T) {
	g, err := New(t.Context(), openDocs(t))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close(context.Background())
	var mu sync.Mutex
	made := map[ID]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			ids := make([]ID, 5000)
			for i := range ids {
				var err error
				if ids[i], err = g.Next(t.Context()); err != nil {
					t.Error(err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				made[id] = true
			}
		})
	}
	wg.Wait()
	if len(made) != 8*5000 {
		t.Errorf("%d ids", len(made))
	}
}

func BenchmarkNext(b *testing.B) {
	g, err := New(b.Context(), openDocs(b))
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close(context.Background())
	for b.Loop() {
		if _, err := g.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
