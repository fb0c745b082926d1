package overview_test

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/limits"
	"github.com/afgen/afgen/runtime/internal/overview"
	"github.com/afgen/afgen/runtime/internal/registry"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const docName = "gauges/1"

var down = backend.NewError(backend.ErrUnavailable, "down").With(backend.OutcomeNotSent)

// A world is a system of several Apps on one backend, in virtual time.
type world struct {
	*testing.T
	ports *backend.Ports
	apps  []*app

	mu     sync.Mutex
	queues []backend.QueueCounts // what the store has
	reads  int                   // of all queues, by all Apps
	ahead  time.Duration         // of the store's clock
}

// An app is what one App has. Its faults are set before it is used, or by the test's goroutine.
type app struct {
	*overview.Shared
	w           *world
	gets        int
	down        error         // of all requests to the store
	noWrite     error         // of writes
	noRead      error         // of reading queues
	noInstances error         // of the coordinator
	slow        time.Duration // of reading queues
	dies        bool          // when it has begun to read queues
	dead        atomic.Bool
}

func newWorld(t *testing.T, n int) *world {
	w := &world{T: t}
	ports, err := memory.New().Open(t.Context(), backend.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ports.Close(context.Background()) })
	w.ports = ports
	for range n {
		a := &app{w: w}
		a.Shared = overview.NewShared(&overview.Source{
			Store: store{ports.Store, a}, Docs: docs{ports.Docs, a},
			Requests: retry.NewRequester(t.Context(), func() bool { return true }),
			Limits:   func(context.Context) (map[string]limits.Limits, error) { return nil, a.fails() },
			Present: func(context.Context) (map[string]registry.Announcement, error) {
				return make(map[string]registry.Announcement, n), a.noInstances
			},
		})
		w.apps = append(w.apps, a)
	}
	return w
}

// fails returns the error of requests to the store.
func (a *app) fails() error {
	if a.dead.Load() {
		return down
	}
	return a.down
}

type store struct {
	backend.Store
	a *app
}

// Now implements backend.Store.
func (s store) Now(context.Context) (time.Time, error) {
	s.a.w.mu.Lock()
	defer s.a.w.mu.Unlock()
	return time.Now().Add(s.a.w.ahead), s.a.fails()
}

// Queues implements backend.Store.
func (s store) Queues(ctx context.Context) ([]backend.QueueCounts, error) {
	w := s.a.w
	w.mu.Lock()
	w.reads++
	queues := w.queues
	w.mu.Unlock()
	if s.a.dies {
		s.a.dead.Store(true)
	}
	if s.a.slow > 0 && !retry.Sleep(ctx, s.a.slow) {
		return nil, ctx.Err()
	}
	if s.a.noRead != nil {
		return nil, s.a.noRead
	}
	return queues, s.a.fails()
}

type docs struct {
	backend.Docs
	a *app
}

// Get implements backend.Docs.
func (d docs) Get(ctx context.Context, name string) (backend.Doc, error) {
	if err := d.a.fails(); err != nil {
		return backend.Doc{}, err
	}
	if name == docName {
		d.a.gets++
	}
	return d.Docs.Get(ctx, name)
}

// PutIf implements backend.Docs.
func (d docs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	if err := cmp.Or(d.a.fails(), d.a.noWrite); err != nil {
		return 0, err
	}
	return d.Docs.PutIf(ctx, name, rev, value)
}

// tasks sets the number of pending tasks of queue q.
func (w *world) tasks(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queues = []backend.QueueCounts{{Queue: "q", Oldest: time.Now().Add(w.ahead - 3*time.Second),
		Counts: map[backend.Status]backend.Count{backend.StatusPending: {N: n}, backend.StatusSuccess: {N: 1000}}}}
}

// get returns the value of App i, which must be the one that the store has at its time.
func (w *world) get(i int) instrument.System {
	w.Helper()
	s, err := w.apps[i].System(w.Context())
	if err != nil {
		w.Fatalf("App %d after %v: %v", i, w.elapsed(), err)
	}
	return s
}

// elapsed returns the virtual time since the bubble began.
func (w *world) elapsed() time.Duration {
	return time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
}
