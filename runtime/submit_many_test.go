package runtime_test

import (
	"context"
	"sync/atomic"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A backend that takes some Inserts and then is full.
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

// Whoever repeated a SubmitMany of which a part is kept would make tasks twice: the error doesn't say that it is safe, and the
// ids of that part are returned.
func TestSubmitManyThatIsCutShortSaysWhatIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &filling{Backend: memory.New()}
		b.left.Store(2)
		_, q := work(t, b, jobWorker, double)
		ids, err := q.SubmitMany(t.Context(), make([]int, 2500))
		wantError(t, err, af.ErrResourceExhausted, af.OutcomeUnknown, "the first 2000 of 2500 tasks are stored")
		if len(ids) != 2000 {
			t.Fatalf("%d ids", len(ids))
		}
		for _, id := range ids {
			must(q.Wait(t.Context(), id))(t) // hinted, too
		}
		ids, err = q.SubmitMany(t.Context(), make([]int, 2500))
		wantError(t, err, af.ErrResourceExhausted, af.OutcomeNotSent, "full")
		if len(ids) != 0 {
			t.Errorf("%d ids", len(ids))
		}
	})
}
