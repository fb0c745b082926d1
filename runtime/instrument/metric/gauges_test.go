package metric_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

var worker = af.Worker{Name: "resize", Type: "Resize", Max: 3, Weight: 1}

// blocked runs until it is stopped.
type blocked struct{ started chan struct{} }

func (w *blocked) Run(ctx context.Context, _ int) error {
	w.started <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

// read returns the gauges with their attributes.
func read(t *testing.T, g *metric.Gauges) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	if err := g.Read(t.Context(), func(m metric.Metric, v float64, values ...string) {
		if len(values) != len(m.Attributes) || m.Kind != metric.Gauge {
			t.Errorf("%s has attributes %q, not %q", m.Name, values, m.Attributes)
		}
		key := strings.TrimSpace(m.Name + " " + strings.Join(values, " "))
		if _, ok := all[key]; ok {
			t.Errorf("%s is recorded twice", key)
		}
		all[key] = v
	}); err != nil {
		t.Error(err)
	}
	return all
}

func TestGauges(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx := t.Context()
		app, err := af.Open(ctx, memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		g := metric.NewGauges(app)
		w := &blocked{make(chan struct{}, 10)}
		af.RegisterVoidWorker(app, worker, w)
		if got := read(t, g); len(got) > 0 {
			t.Errorf("before the start: %v", got)
		}
		must(t, app.Start(ctx))
		q := af.NewVoidQueue[int](app, worker)
		for range 5 {
			if _, err := q.Submit(ctx, 1); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			<-w.started
		}
		if err := app.PauseQueue(ctx, "other", af.Create()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // virtual
		want := map[string]float64{
			"af.worker.slots resize": 3, "af.worker.used resize": 3, "af.settle.backlog": 0, "af.instances": 1,
			"af.queue.tasks resize running": 3, "af.queue.tasks resize pending": 2, "af.queue.tasks resize waiting": 0,
			"af.queue.tasks resize retrying": 0, "af.queue.oldest resize": 2, "af.queue.paused resize": 0,
			"af.queue.workers resize":      1,
			"af.queue.tasks other running": 0, "af.queue.tasks other pending": 0, "af.queue.tasks other waiting": 0,
			"af.queue.tasks other retrying": 0, "af.queue.oldest other": 0, "af.queue.paused other": 1,
			"af.queue.workers other": 0,
		}
		got := read(t, g)
		for key, up := range got {
			if strings.HasPrefix(key, "af.backend.") {
				if want := strings.HasPrefix(key, "af.backend.up"); up != map[bool]float64{true: 1}[want] {
					t.Errorf("%s is %v", key, up)
				}
				delete(got, key)
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", fmt.Sprint(got), want)
		}

		// what is read from the store is kept for a while, what the App knows is not
		if _, err := q.Submit(ctx, 1); err != nil {
			t.Fatal(err)
		}
		for _, pending := range []float64{2, 3} {
			if got := read(t, g)["af.queue.tasks resize pending"]; got != pending {
				t.Errorf("%v tasks are pending, want %v", got, pending)
			}
			time.Sleep(metric.Every)
		}
		stopping, cancel := context.WithTimeout(ctx, time.Second) // the handlers run until they are cancelled
		defer cancel()
		_ = app.Shutdown(stopping)
		if got := read(t, g); len(got) > 0 {
			t.Errorf("after the end: %v", got)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// If the store fails, what the App itself knows is recorded, and the store is not asked more often.
func TestGaugesWithoutStore(t *testing.T) {
	for _, code := range []af.Code{af.ErrInternal, af.ErrFailedPrecondition, af.ErrUnimplemented} {
		t.Run(string(code), func(t *testing.T) { testGaugesWithoutStore(t, code) })
	}
}

func testGaugesWithoutStore(t *testing.T, code af.Code) {
	bubble.Test(t, func(t *testing.T) {
		b := &failing{Backend: memory.New(), code: code}
		app, err := af.Open(t.Context(), b, af.Logger(slog.New(slog.DiscardHandler)))
		must(t, err)
		must(t, app.Start(t.Context()))
		defer func() { must(t, app.Shutdown(t.Context())) }()
		g := metric.NewGauges(app)
		var asked int64
		for i, again := range []bool{true, false, true} {
			var names []string
			err := g.Read(t.Context(), func(m metric.Metric, _ float64, _ ...string) { names = append(names, m.Name) })
			if !errors.Is(err, code) || !slices.Equal(names, []string{"af.settle.backlog"}) {
				t.Errorf("read %d: %v with %q", i, err, names)
			}
			n := b.asked.Load()
			if (n > asked) != again {
				t.Errorf("read %d: the store was asked %d times, %d before", i, n, asked)
			}
			asked = n
			time.Sleep(metric.Every * 2 / 3) // virtual
		}
	})
}

// failing is a backend whose store can't list queues.
type failing struct {
	af.Backend
	code  af.Code
	asked atomic.Int64
}

type failingStore struct {
	backend.Store
	code  af.Code
	asked *atomic.Int64
}

// Open implements a backend.
func (f *failing) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := f.Backend.Open(ctx, env)
	if err == nil {
		ports.Store = failingStore{ports.Store, f.code, &f.asked}
	}
	return ports, err
}

// Queues implements a store.
func (s failingStore) Queues(context.Context) ([]backend.QueueCounts, error) {
	s.asked.Add(1)
	return nil, s.code
}

// callsOnly is a backend without tasks.
type callsOnly struct{ af.Backend }

// Open implements a backend.
func (b callsOnly) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := b.Backend.Open(ctx, env)
	if err == nil {
		ports.Store, ports.Docs, ports.Transport = nil, nil, nil
	}
	return ports, err
}

// On a backend without tasks there are no gauges of queues, which is no error.
func TestGaugesWithoutTasks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, err := af.Open(t.Context(), callsOnly{memory.New()}, af.Logger(slog.New(slog.DiscardHandler)))
		must(t, err)
		must(t, app.Start(t.Context()))
		defer func() { must(t, app.Shutdown(t.Context())) }()
		for name := range read(t, metric.NewGauges(app)) {
			if strings.HasPrefix(name, "af.queue.") {
				t.Errorf("there is %s", name)
			}
		}
	})
}
