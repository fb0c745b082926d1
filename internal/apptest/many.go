package apptest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// ManySubtasks tests that a source with very many subtasks delays no other task: neither while they are spawned, nor
// when it fails, is stopped, or succeeds and opens their gate. It has n subtasks if it fails, otherwise a fifth.
func ManySubtasks(t *testing.T, n int, open func(t *testing.T) af.Backend) {
	t.Run("failed", func(t *testing.T) { (&world{T: t, backend: open(t)}).manySubtasks(n, af.StatusFailed) })
	t.Run("stopped", func(t *testing.T) { (&world{T: t, backend: open(t)}).manySubtasks(n/5, af.StatusStopped) })
	t.Run("succeeded", func(t *testing.T) { (&world{T: t, backend: open(t)}).manySubtasks(n/5, af.StatusSuccess) })
}

var (
	otherWorker = af.Worker{Name: "other", Type: "Other", Max: 8}
	leafWorker  = af.Worker{Name: "leaf", Type: "Leaf", Max: 1}
)

func (w *world) manySubtasks(n int, end af.Status) {
	begun, fail, opened := make(chan struct{}), make(chan error), make(chan struct{})
	app := w.open(func(app *af.App) {
		works(func(ctx context.Context, _ int) (int, error) {
			close(begun)
			select {
			case err := <-fail:
				return 0, err
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})(app)
		af.RegisterWorker(app, otherWorker, &job{same})
		af.RegisterWorker(app, leafWorker, &job{func(ctx context.Context, _ int) (int, error) { // keeps the others waiting
			close(opened)
			<-ctx.Done()
			return 0, ctx.Err()
		}})
	})
	q := af.NewQueue[int, int](app, jobWorker)
	leaves, other := af.NewQueue[int, int](app, leafWorker), af.NewQueue[int, int](app, otherWorker)
	source := must(q.Submit(w.Context(), 0))(w)
	<-begun

	// run runs other tasks until f has returned and done returns true. It returns how long each takes.
	run := func(f func() error, done func() bool) (took []time.Duration) {
		ended := make(chan error, 1)
		go func() { ended <- f() }()
		for returned := false; !returned || !done(); {
			begun := time.Now()
			ctx, cancel := context.WithTimeout(w.Context(), 2*patience)
			must(other.Wait(ctx, must(other.Submit(ctx, 1))(w)))(w)
			cancel()
			took = append(took, time.Since(begun))
			select {
			case err := <-ended:
				w.must(err)
				returned = true
			default:
			}
		}
		slices.Sort(took)
		return took
	}
	yes := func() bool { return true }
	ran := 0
	before := run(func() error { return nil }, func() bool { ran++; return ran >= 20 })
	check := func(what string, f func() error, done func() bool) {
		w.Helper()
		begun := time.Now()
		during := run(f, done)
		usual, most := during[len(during)/2], during[len(during)-1]
		w.Logf("%d subtasks are %s in %v; %d other tasks take %v, 99 %% of them at most %v, all %v; before %v, all at most "+
			"%v", n, what,
			time.Since(begun).Round(time.Millisecond), len(during), usual, during[len(during)*99/100], most,
			before[len(before)/2],
			before[len(before)-1])
		// On an idle machine it is 100 ms. The median, since a loaded machine may stall once; few have none.
		limit := 250*time.Millisecond + 4*before[len(before)/2]
		if len(during) < 5 {
			limit = 2 * time.Second
		}
		if usual > limit {
			w.Errorf("another task takes %v, %v at most, while subtasks are %s", usual, most, what)
		}
	}
	check("made", func() error { _, err := leaves.Subtasks(w.Context(), source, make([]int, n)); return err }, yes)
	stopped := func() bool {
		t := must(q.Get(w.Context(), source))(w)
		if t.Subtasks != nil && t.Subtasks.Stopped != n {
			w.Errorf("the set: %+v", t.Subtasks)
		}
		return t.Subtasks != nil
	}
	switch end {
	case af.StatusFailed:
		check("stopped", func() error { fail <- af.Permanent(errors.New("no")); return nil }, stopped)
	case af.StatusStopped:
		check("stopped", func() error { return app.StopTask(w.Context(), source) }, stopped)
	default:
		check("let go", func() error { fail <- nil; <-opened; return nil }, yes)
		w.must(app.StopTask(w.Context(), source))
	}
}
