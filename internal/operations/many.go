package operations

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// ManySubtasks checks that a source with very many subtasks that is stopped, or that fails, delays no other task.
func ManySubtasks(t *testing.T, open func(t *testing.T) af.Backend) {
	failed, stopped := 100_000, 20_000
	if testing.Short() {
		failed, stopped = 1_000, 500
	}
	t.Run("failed", func(t *testing.T) { (&world{T: t, backend: open(t)}).manySubtasks(failed, false) })
	t.Run("stopped", func(t *testing.T) { (&world{T: t, backend: open(t)}).manySubtasks(stopped, true) })
}

var otherWorker = af.Worker{Name: "other", Type: "Other", Max: 8}

func (w *world) manySubtasks(n int, stop bool) {
	begun, fail := make(chan struct{}), make(chan struct{})
	app := w.open(func(app *af.App) {
		works(func(ctx context.Context, _ int) (int, error) {
			close(begun)
			select {
			case <-fail:
				return 0, af.Permanent(errors.New("no"))
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})(app)
		af.RegisterWorker(app, otherWorker, &job{same})
	})
	q, other := af.NewQueue[int, int](app, jobWorker), af.NewQueue[int, int](app, otherWorker)
	source := must(q.Submit(w.Context(), 0))(w)
	<-begun
	inserting := time.Now()
	must(q.Subtasks(w.Context(), source, make([]int, n)))(w)
	w.Logf("%d subtasks in %v", n, time.Since(inserting).Round(time.Millisecond))

	// one runs another task, and returns how long that takes.
	one := func() time.Duration {
		begun := time.Now()
		ctx, cancel := context.WithTimeout(w.Context(), 2*patience)
		defer cancel()
		must(other.Wait(ctx, must(other.Submit(ctx, 1))(w)))(w)
		return time.Since(begun)
	}
	var before, during []time.Duration
	for range 20 {
		before = append(before, one())
	}
	ended := make(chan error, 1)
	ending := time.Now()
	if stop {
		go func() { ended <- app.StopTask(w.Context(), source) }()
	} else {
		close(fail)
		ended <- nil
	}
	for finished := false; !finished; {
		during = append(during, one())
		t := must(q.Get(w.Context(), source))(w)
		if finished = t.Subtasks != nil; finished && t.Subtasks.Stopped != n {
			w.Errorf("the set: %+v", t.Subtasks)
		}
		if time.Since(ending) > 10*patience {
			w.Fatal("the subtasks are not all stopped")
		}
	}
	took := time.Since(ending)
	w.must(<-ended)
	slices.Sort(before)
	slices.Sort(during)
	usual, most := during[len(during)/2], during[len(during)-1]
	w.Logf("all are stopped after %v; another task takes %v, %v at most; before %v, %v at most", took.Round(time.Millisecond),
		usual, most, before[len(before)/2], before[len(before)-1])
	// On an idle machine it is 100 ms. The median, since a loaded one may stall once.
	if usual > 250*time.Millisecond+4*before[len(before)/2] {
		w.Errorf("another task takes %v, %v at most, while subtasks are stopped", usual, most)
	}
}
