package apptest

import (
	"context"
	"sync/atomic"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

// A hasty backend discards batches of subtasks while they are inserted, and loses the replies.
type hasty struct {
	af.Backend
	sweeps *atomic.Int64 // sweeps left
	store  *backend.Store
}

func (h hasty) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := h.Backend.Open(ctx, env)
	if err == nil {
		*h.store = ports.Store
		ports.Store = hastyStore{ports.Store, h.sweeps}
	}
	return ports, err
}

type hastyStore struct {
	backend.Store
	sweeps *atomic.Int64
}

func (s hastyStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	stored, err := s.Store.Insert(ctx, tasks)
	if err != nil || len(tasks) == 0 || !tasks[0].Gated {
		return stored, err
	}
	switch n := s.sweeps.Add(-1); {
	case n >= 0:
		return stored, s.Discard(ctx, tasks[0].Task.Source, tasks[0].Task.Batch)
	case n == -2:
		return nil, backend.NewError(backend.ErrUnavailable, "the reply was lost")
	}
	return stored, nil
}

func (s hastyStore) Spawn(ctx context.Context, sp backend.Spawn) error {
	err := s.Store.Spawn(ctx, sp)
	if s.sweeps.Load() == -5 && s.sweeps.Add(-1) == -6 && err == nil {
		return backend.NewError(backend.ErrUnavailable, "the reply was lost")
	}
	return err
}

// sweptBatch spawns a batch that needs several inserts, while sweepers discard it as abandoned and replies are lost.
func sweptBatch(w *world) {
	n := testkit.Fewer(2500, 1200) // at least two inserts
	for sweeps := range int64(4) {
		var left atomic.Int64
		left.Store(sweeps)
		var store backend.Store
		h := hasty{w.backend, &left, &store}
		client := (&world{T: w.T, backend: h}).open(nil)
		q := af.NewQueue[int, int](client, af.Worker{Name: "unserved", Type: "Unserved", Max: 1, Weight: 1})
		source := must(q.Submit(w.Context(), 1))(w)
		ids := must(q.Subtasks(w.Context(), source, make([]int, n)))(w)
		page := must(store.List(w.Context(), backend.TaskQuery{Source: source, Limit: 1}))(w)
		if len(ids) != n || page.Total != n {
			w.Errorf("after %d sweeps %d ids are returned, and %d tasks stored", sweeps, len(ids), page.Total)
		}
		for _, i := range []int{0, 999, 1000, n - 1} {
			must(store.Get(w.Context(), ids[i]))(w)
		}
	}
}
