package runtime_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// filling is a backend that accepts some Inserts and then is full.
type filling struct {
	*memory.Backend
	left atomic.Int32
}

type fillingStore struct {
	backend.Store
	filling *filling
}

func (f *filling) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := f.Backend.Open(ctx, env)
	if err == nil {
		ports.Store = fillingStore{ports.Store, f}
	}
	return ports, err
}

func (s fillingStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	if s.filling.left.Add(-1) < 0 {
		return nil, backend.Errorf(backend.ErrResourceExhausted, "full").With(backend.OutcomeNotSent)
	}
	return s.Store.Insert(ctx, tasks)
}

// If only a part of a SubmitMany is stored, repeating it would duplicate tasks. So the error does not have
// OutcomeNotSent, and the ids of that part are returned.
func TestPartialSubmitMany(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := &filling{Backend: memory.New()}
		b.left.Store(2)
		_, q := work(t, b, jobWorker, double)
		ids, err := q.SubmitMany(t.Context(), make([]int, 2500))
		wantError(t, err, af.ErrResourceExhausted, af.OutcomeUnknown, "the first 2000 of 2500 tasks are stored")
		if len(ids) != 2000 {
			t.Fatalf("%d ids", len(ids))
		}
		for _, id := range ids {
			must(q.Wait(t.Context(), id))(t) // hints for them were sent
		}
		ids, err = q.SubmitMany(t.Context(), make([]int, 2500))
		wantError(t, err, af.ErrResourceExhausted, af.OutcomeNotSent, "full")
		if len(ids) != 0 {
			t.Errorf("%d ids", len(ids))
		}
	})
}
