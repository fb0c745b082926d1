package runtime_test

import (
	"context"
	"errors"
	"testing"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// An id identifies a task in the whole store. Another queue can neither submit it again nor read its result.
func TestTaskIDOfAnotherQueue(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, func(_ context.Context, n int) (int, error) { return 2 * n, nil })
		id := must(q.Submit(t.Context(), 21, af.TaskID("mine")))(t)
		other := jobWorker
		other.Name = "other"
		foreign := af.NewQueue[int, int](app, other)
		if got, err := foreign.Submit(t.Context(), 1, af.TaskID(id)); !errors.Is(err, af.ErrAlreadyExists) {
			t.Errorf("Submit = %q, %v, want already_exists", got, err)
		}
		if n, err := foreign.Wait(t.Context(), id); !errors.Is(err, af.ErrInvalidArgument) {
			t.Errorf("Wait = %d, %v, want invalid_argument", n, err)
		}
		if n, err := foreign.Result(t.Context(), id); !errors.Is(err, af.ErrInvalidArgument) {
			t.Errorf("Result = %d, %v, want invalid_argument", n, err)
		}
		if n, err := q.Wait(t.Context(), id); n != 42 || err != nil {
			t.Errorf("Wait = %d, %v in its own queue", n, err)
		}
	})
}

// Ids reserved by the system are rejected.
func TestReservedTaskIDs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, q := work(t, memory.New(), jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
		for _, id := range []string{"job/nightly/1", "order-1/done"} {
			if got, err := q.Submit(t.Context(), 1, af.TaskID(id)); !errors.Is(err, af.ErrInvalidArgument) {
				t.Errorf("Submit with TaskID %q = %q, %v, want invalid_argument", id, got, err)
			}
		}
	})
}
