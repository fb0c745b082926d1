package apptest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
)

// abandoned has a handler ignore its cancelled context. Another instance sees its slot in use until it returns.
func abandoned(w *world) {
	testkit.Long(w, "waits until a handler that ignores its context is abandoned")
	worker := jobWorker
	worker.Timeout = 100 * time.Millisecond
	release := make(chan struct{})
	app := w.open(func(a *af.App) {
		af.RegisterWorker(a, worker, &job{func(_ context.Context, n int) (int, error) { <-release; return n, nil }})
	})
	q := af.NewQueue[int, int](app, worker)
	operator := w.open(nil)
	if _, err := q.Wait(w.Context(), must(q.Submit(w.Context(), 1))(w)); !errors.Is(err, af.ErrDeadlineExceeded) {
		w.Errorf("the task ended with %v", err)
	}
	seen := func(n int) bool {
		h := app.Health()
		workers := must(operator.Workers(w.Context(), af.WorkerQuery{Queue: worker.Name}))(w).Workers
		return h.Abandoned == n && slices.Contains(h.Degraded, "slots-lost") == (n > 0) && len(workers) == 1 &&
			workers[0].Abandoned == n
	}
	w.within(patience, "it is counted", func() bool { return seen(1) })
	close(release)
	w.within(patience, "it has returned", func() bool { return seen(0) })
}
