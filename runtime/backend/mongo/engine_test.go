package mongo_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A half is a backend with tasks in MongoDB and everything else in memory, with hints that carry IDs.
type half struct {
	ports *backend.Ports
	rest  *memory.Backend
}

func (h half) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := h.rest.Open(ctx, env)
	if err == nil {
		ports.Store, ports.Docs = h.ports.Store, h.ports.Docs
	}
	return ports, err
}

type doubling struct{ ran atomic.Int64 }

func (w *doubling) Run(_ context.Context, n int) (int, error) {
	w.ran.Add(1)
	return 2 * n, nil
}

// The engine runs submitted tasks and subtasks once.
func TestEngine(t *testing.T) {
	var k counter
	client := join(t, devstack.Mongo(t), k.watch)
	worker := af.Worker{Name: "doubling", Type: "Doubling", Max: 16, Backoff: time.Second, Weight: 1}
	w := &doubling{}
	app := apptest.Start(t, half{portsOf(client), memory.New(memory.HintIDs(4096))},
		func(app *af.App) { af.RegisterWorker(app, worker, w) })
	q := af.NewQueue[int, int](app, worker)
	const tasks = 100
	var numbers []int
	for i := range tasks {
		numbers = append(numbers, i)
	}
	k.take()
	begun := time.Now()
	ids, err := q.SubmitMany(t.Context(), numbers)
	must(t, err)
	for i, id := range ids {
		got, err := q.Wait(t.Context(), id)
		must(t, err)
		if got != 2*i {
			t.Errorf("task %d: %d", i, got)
		}
	}
	t.Logf("%d tasks in %v: %s", tasks, time.Since(begun), k.take())
	if n := w.ran.Load(); n != tasks {
		t.Errorf("%d runs of %d tasks", n, tasks)
	}
	kids, err := q.Subtasks(t.Context(), ids[0], []int{7, 8})
	must(t, err)
	for _, kid := range kids {
		_, err := q.Wait(t.Context(), kid)
		must(t, err)
	}
	testkit.Succeeds(t, "the set is finished", func() error {
		source, err := q.Get(t.Context(), ids[0])
		if err == nil && source.Subtasks == nil {
			err = backend.NewError(backend.ErrUnavailable, "the set is not finished")
		}
		return err
	})
}
