package apptest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// counted is a worker with SubtasksDone that records its counts.
type counted struct {
	job
	told chan af.Subtasks
}

func (c *counted) SubtasksDone(_ context.Context, _ int, s af.Subtasks) error {
	c.told <- s
	return nil
}

// ends waits until a task has ended with status want, and returns it.
func (w *world) ends(app *af.App, id string, want af.Status) af.Task {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	t := must(app.WaitTask(ctx, id))(w)
	if t.Status != want {
		w.Errorf("%s is %s, want %s", id, t.Status, want)
	}
	return t
}

// noWorker stores and submits tasks before any instance has had a worker of the queue.
func noWorker(w *world) {
	client := w.open(nil, af.IP("192.0.2.2"))
	q := af.NewQueue[int, int](client, jobWorker)
	stored := must(q.Store(w.Context(), 1, af.Weight(3)))(w)
	submitted := must(q.Submit(w.Context(), 2, af.Weight(5)))(w)
	for id, weight := range map[string]int{stored: 3, submitted: 5} {
		if t := must(q.Get(w.Context(), id))(w); t.Weight != weight || t.Attempt != 0 || t.Status.Final() {
			w.Errorf("before there is a worker: %+v", t)
		}
	}
	var ran [3]atomic.Int64
	w.open(works(func(_ context.Context, n int) (int, error) { ran[n].Add(1); return n, nil }))
	w.ends(client, stored, af.StatusSuccess)
	w.ends(client, submitted, af.StatusSuccess)
	if a, b := ran[1].Load(), ran[2].Load(); a != 1 || b != 1 {
		w.Errorf("the one that was stored ran %d times, the one that was submitted %d times", a, b)
	}
}

// subtasksFinish gives a source subtasks before and after its end. One of them fails and one has a subtask.
func subtasksFinish(w *world) {
	told, goOn := make(chan af.Subtasks, 10), make(chan struct{})
	app := w.open(func(app *af.App) {
		af.RegisterWorker(app, jobWorker, &counted{job{func(_ context.Context, n int) (int, error) {
			if n < 0 {
				return 0, af.Permanent(errors.New("no"))
			}
			if n == 9 {
				<-goOn
			}
			return n, nil
		}}, told})
	})
	q := af.NewQueue[int, int](app, jobWorker)
	source := must(q.Submit(w.Context(), 1))(w)
	early := must(q.Subtasks(w.Context(), source, []int{9, -1}))(w)
	w.ends(app, early[1], af.StatusFailed)
	w.ends(app, source, af.StatusSuccess)
	late := must(q.Subtasks(w.Context(), source, []int{2, 3}, af.Weight(7), af.Timeout(time.Minute)))(w)
	for _, id := range late {
		if t := w.ends(app, id, af.StatusSuccess); t.Weight != 7 || t.Timeout != time.Minute || t.Source != source {
			w.Errorf("a subtask of weight 7: %+v", t)
		}
	}
	time.Sleep(100 * time.Millisecond)
	if t := must(q.Get(w.Context(), source))(w); t.Subtasks != nil || len(told) > 0 {
		w.Errorf("finished while a subtask runs: %+v", t)
	}
	close(goOn)
	w.ends(app, early[0], af.StatusSuccess)
	select {
	case s := <-told:
		if s.Total != 4 || s.Succeeded != 3 || s.Failed != 1 || s.Stopped != 0 {
			w.Errorf("SubtasksDone got %+v", s)
		}
	case <-time.After(patience):
		w.Fatal("SubtasksDone does not run")
	}
	if t := must(q.Get(w.Context(), source))(w); t.Subtasks == nil || t.Subtasks.Total != 4 ||
		t.Status != af.StatusSuccess {
		w.Errorf("the source: %+v", t)
	}
	if _, err := q.Subtasks(w.Context(), source, []int{4}); !errors.Is(err, af.ErrFailedPrecondition) {
		w.Errorf("subtasks of a set that is finished: %v", err)
	}
	if len(told) > 0 {
		w.Error("SubtasksDone ran twice")
	}
}

// failedSource and stopTree have a running source, a subtask that has already succeeded, and two that wait.
func failedSource(w *world) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	app := w.open(works(func(_ context.Context, n int) (int, error) {
		if n == 0 {
			close(begun)
			<-goOn
			return 0, af.Permanent(errors.New("no"))
		}
		return n, nil
	}))
	source, ended, waiting := w.family(app, begun)
	close(goOn)
	w.ends(app, source, af.StatusFailed)
	for _, id := range waiting {
		w.ends(app, id, af.StatusStopped)
	}
	w.ends(app, ended, af.StatusSuccess)
}

func stopTree(w *world) {
	begun, cause := make(chan struct{}), make(chan error, 1)
	worker := w.open(works(func(ctx context.Context, n int) (int, error) {
		if n == 0 {
			close(begun)
			<-ctx.Done()
			cause <- context.Cause(ctx)
		}
		return n, nil // succeeds regardless
	}))
	client := w.open(nil, af.IP("192.0.2.2"))
	source, ended, waiting := w.family(client, begun)
	w.must(client.StopTask(w.Context(), source))
	select {
	case err := <-cause:
		if !errors.Is(err, af.ErrTaskStopped) {
			w.Errorf("the handler's context ended with %v", err)
		}
	case <-time.After(patience):
		w.Fatal("the handler's context does not end")
	}
	for _, id := range append(waiting, source) {
		w.ends(worker, id, af.StatusStopped)
	}
	w.ends(client, ended, af.StatusSuccess)
	w.must(client.StopTask(w.Context(), source)) // again: changes nothing
	w.ends(client, source, af.StatusStopped)
}

// family submits a source, and returns it with its subtasks once it runs.
func (w *world) family(app *af.App, begun <-chan struct{}) (source, ended string, waiting []string) {
	w.Helper()
	q := af.NewQueue[int, int](app, jobWorker)
	source = must(q.Submit(w.Context(), 0))(w)
	<-begun
	ended = must(q.Subtasks(w.Context(), source, []int{1}, af.RunNow()))(w)[0]
	w.ends(app, ended, af.StatusSuccess)
	return source, ended, must(q.Subtasks(w.Context(), source, []int{2, 3}))(w)
}
