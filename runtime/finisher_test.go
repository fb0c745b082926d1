package runtime_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// An endStore counts calls of the store that follow the end of tasks. It delays calls of Stop until held is closed.
type endStore struct {
	backend.Store
	held                   chan struct{}
	stops, opens, finishes atomic.Int64
}

func (s *endStore) Stop(ctx context.Context, st backend.Stop) ([]backend.Task, error) {
	s.stops.Add(1)
	select {
	case <-s.held:
		return s.Store.Stop(ctx, st)
	case <-ctx.Done():
		return nil, backend.Errorf(backend.ErrUnavailable, "stopping: %w", ctx.Err())
	}
}

func (s *endStore) Open(ctx context.Context, source string) ([]string, error) {
	s.opens.Add(1)
	return s.Store.Open(ctx, source)
}

func (s *endStore) Finish(ctx context.Context, source string) (bool, string, error) {
	s.finishes.Add(1)
	return s.Store.Finish(ctx, source)
}

// An eventSize records the size of the largest event. It delays events of ended tasks until held, if set, is closed.
type eventSize struct {
	backend.Coordinator
	most, ended atomic.Int64 // ended counts ids of ended tasks
	held        chan struct{}
}

func (c *eventSize) Publish(ctx context.Context, topic string, events json.RawMessage) error {
	if n := int64(len(events)); n > c.most.Load() {
		c.most.Store(n)
	}
	if topic == "af.ended" {
		if c.held != nil {
			select {
			case <-c.held:
			case <-ctx.Done():
				return backend.Errorf(backend.ErrDeadlineExceeded, "held: %w", ctx.Err())
			}
		}
		var ids []string
		if err := json.Unmarshal(events, &ids); err != nil {
			return err
		}
		c.ended.Add(int64(len(ids)))
	}
	return c.Coordinator.Publish(ctx, topic, events)
}

// counting returns a memory backend with both.
func counting() (*endStore, *eventSize, af.Backend) {
	b := &endBackend{store: &endStore{held: make(chan struct{})}, events: &eventSize{}}
	return b.store, b.events, b
}

type endBackend struct {
	store  *endStore
	events *eventSize
}

func (b *endBackend) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := memory.New().Open(ctx, env)
	if err == nil {
		b.store.Store, b.events.Coordinator = ports.Store, ports.Coordinator
		ports.Store, ports.Coordinator = b.store, b.events
	}
	return ports, err
}

// A source that fails with many subtasks does not delay other tasks, and needs a few calls of the store, not some for
// each subtask.
func TestFailedSourceWithManySubtasksDelaysNoTasks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const many = 5000
		store, events, b := counting()
		var q af.Queue[int, int]
		_, q = work(t, b, jobWorker, func(ctx context.Context, n int) (int, error) {
			if n != 1 {
				return n, nil
			}
			if _, err := q.Subtasks(ctx, af.TaskFrom(ctx).ID, make([]int, many)); err != nil {
				return 0, err
			}
			return 0, af.Permanent(af.NewError(af.ErrInternal, "no"))
		})
		source := must(q.Submit(t.Context(), 1))(t)
		_, err := q.Wait(t.Context(), source)
		wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "no")
		begun := time.Now()
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 2))(t)))(t)
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("another task took %v while subtasks were being stopped", took)
		}
		close(store.held)
		time.Sleep(time.Second)
		counts := must(q.Get(t.Context(), source))(t).Subtasks
		if counts == nil || counts.Stopped != many {
			t.Errorf("subtasks: %+v", counts)
		}
		if n := store.stops.Load() + store.opens.Load() + store.finishes.Load(); n > 10 {
			t.Errorf("%d calls of the store for %d subtasks", n, many)
		}
		if n := events.most.Load(); n > 65<<10 {
			t.Errorf("an event of %d bytes", n)
		}
	})
}

func TestStoppingManySubtasksNeedsFewCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const many = 5000
		store, _, b := counting()
		close(store.held)
		app, q := work(t, b, jobWorker, same)
		source := must(q.Submit(t.Context(), 1, af.RunAt(time.Now().Add(time.Hour))))(t)
		ids := must(q.Subtasks(t.Context(), source, make([]int, many)))(t)
		inner := must(q.Subtasks(t.Context(), ids[7], []int{1, 2}))(t)
		if err := app.StopTask(t.Context(), source); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{ids[0], ids[many-1], inner[0]} {
			_, err := q.Wait(t.Context(), id)
			wantError(t, err, af.ErrAborted, af.OutcomeAnswered, "stopped")
		}
		time.Sleep(time.Second)
		for id, want := range map[string]int{source: many, ids[7]: 2} {
			if c := must(q.Get(t.Context(), id))(t).Subtasks; c == nil || c.Stopped != want {
				t.Errorf("subtasks of %s: %+v", id, c)
			}
		}
		if n := store.stops.Load() + store.opens.Load() + store.finishes.Load(); n > 10 {
			t.Errorf("%d calls of the store for %d subtasks", n, many)
		}
	})
}

// A coordinator that hangs delays no results or stops, and the number of events that wait for it is limited.
func TestHangingCoordinatorDelaysNoResult(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const bound, many = 20_000, 25_000
		store, events, b := counting()
		close(store.held)
		events.held = make(chan struct{})
		app, q := work(t, b, jobWorker, same)
		begun := time.Now()
		for n := range 3 {
			must(q.Wait(t.Context(), must(q.Submit(t.Context(), n))(t)))(t)
		}
		source := must(q.Submit(t.Context(), 1, af.RunAt(time.Now().Add(time.Hour))))(t)
		ids := must(q.Subtasks(t.Context(), source, make([]int, many)))(t)
		if err := app.StopTask(t.Context(), source); err != nil {
			t.Fatal(err)
		}
		_, err := q.Wait(t.Context(), ids[many-1])
		wantError(t, err, af.ErrAborted, af.OutcomeAnswered, "stopped")
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		close(events.held)
		time.Sleep(time.Second)
		// One event was being sent, and each try to finish the set of the source adds one.
		if n := events.ended.Load(); n < bound || n > bound+10 {
			t.Errorf("%d ids were published", n)
		}
		if n := events.most.Load(); n > 65<<10 {
			t.Errorf("an event of %d bytes", n)
		}
	})
}
