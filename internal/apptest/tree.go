package apptest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	af "github.com/afgen/afgen/runtime"
)

// waitTree waits in one App for a tree of three levels that runs in another. The handlers overlap with the wait.
func waitTree(w *world) {
	var runs, dones atomic.Int64
	release := make(chan struct{})
	var q af.Queue[int, int]
	register := func(app *af.App) {
		q = af.NewQueue[int, int](app, jobWorker)
		af.RegisterWorker(app, jobWorker, &fan{
			job{func(ctx context.Context, n int) (int, error) {
				runs.Add(1)
				switch n {
				case 0:
					<-release
					return 0, nil
				case -1:
					return 0, af.Permanent(errors.New("no"))
				}
				_, err := q.Subtasks(ctx, af.TaskFrom(ctx).ID, []int{n - 1, n - 1})
				return n, err
			}},
			func() { dones.Add(1) },
		})
	}
	w.open(register)
	client := w.open(nil, af.IP("192.0.2.2"))
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	clients := af.NewQueue[int, int](client, jobWorker)

	id := must(clients.Submit(ctx, 2))(w)
	var waiting sync.WaitGroup
	for range 3 {
		waiting.Go(func() {
			tree, err := client.WaitTree(ctx, id)
			if err != nil {
				w.Error(err)
				return
			}
			// The task, 2 + 4 subtasks, and SubtasksDone of 3 of them.
			if r, d := runs.Load(), dones.Load(); r != 7 || d != 3 || tree.Total != 10 || tree.Succeeded != 10 {
				w.Errorf("%d runs, %d of SubtasksDone: %v", r, d, tree)
			}
			if tree.Task.Subtasks == nil || tree.Task.Subtasks.Total != 2 || tree.Done == nil || tree.Done.DoneOf != id {
				w.Errorf("the task %v with %+v, its SubtasksDone %v", tree.Task, tree.Task.Subtasks, tree.Done)
			}
		})
	}
	w.within(patience, "six tasks run", func() bool { return runs.Load() == 7 })
	close(release)
	waiting.Wait()

	// A task without subtasks, and a source that fails.
	if tree := must(client.WaitTree(ctx, must(clients.Submit(ctx, 0))(w)))(w); tree.Total != 1 || tree.Done != nil {
		w.Errorf("without subtasks: %v", tree)
	}
	failing := must(clients.Submit(ctx, -1, af.RunAt(must(client.GetTask(ctx, id))(w).Created.Add(patience))))(w)
	must(clients.Subtasks(ctx, failing, []int{0, 0}))(w)
	w.must(client.StopTask(ctx, failing))
	if tree := must(client.WaitTree(ctx, failing))(w); tree.Stopped != 3 || tree.Total != 3 || tree.Done != nil {
		w.Errorf("a stopped source: %v", tree)
	}
	if _, err := client.WaitTree(ctx, "unknown"); !errors.Is(err, af.ErrNotFound) {
		w.Errorf("an unknown task: %v", err)
	}
}

// createdOnce submits the same tasks from two Apps at once: one call has created each, and all others have found it.
func createdOnce(w *world) {
	apps := []*af.App{w.open(nil), w.open(nil, af.IP("192.0.2.2"))}
	for i := range 5 {
		for _, opt := range []af.SubmitOption{af.TaskID(fmt.Sprint("id", i)), af.UniqueKey(fmt.Sprint("key", i))} {
			var created, found atomic.Int64
			var calls sync.WaitGroup
			for n := range 20 {
				calls.Go(func() {
					var isNew bool
					q := af.NewQueue[int, int](apps[n%len(apps)], jobWorker)
					switch _, err := q.Submit(w.Context(), n, opt, af.Created(&isNew)); {
					case err != nil:
						w.Error(err)
					case isNew:
						created.Add(1)
					default:
						found.Add(1)
					}
				})
			}
			calls.Wait()
			if created.Load() != 1 || found.Load() != 19 {
				w.Errorf("%d calls have created a task, %d have found it", created.Load(), found.Load())
			}
		}
	}
}
