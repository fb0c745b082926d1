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

// errorDetails reads the details of a failed subtask's error as its waiter, and in SubtasksDone.
func errorDetails(w *world) {
	type limit struct{ Most, Used int }
	want := limit{10, 11}
	seen := make(chan error, 1)
	app := w.open(func(app *af.App) {
		af.RegisterWorker(app, jobWorker, &collector{
			job{func(_ context.Context, n int) (int, error) {
				if n == 0 {
					return 0, nil
				}
				return 0, af.Permanent(af.NewError(af.ErrResourceExhausted, "full", "other", want))
			}}, seen,
		})
	})
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	q := af.NewQueue[int, int](app, jobWorker)
	source := must(q.Submit(ctx, 0))(w)
	id := must(q.Subtasks(ctx, source, []int{1}))(w)[0]
	_, failed := q.Wait(ctx, id)
	for what, err := range map[string]error{
		"waiter": failed, "task": must(app.GetTask(ctx, id))(w).Error.Err(), "SubtasksDone": <-seen,
	} {
		if got, ok := af.Detail[limit](err); !ok || got != want || !errors.Is(err, af.ErrResourceExhausted) {
			w.Errorf("%s: %v with detail %v", what, err, got)
		}
	}
}

// collector is a job whose SubtasksDone sends the errors of the subtasks.
type collector struct {
	job
	seen chan error
}

func (c *collector) SubtasksDone(ctx context.Context, _ int, s af.Subtasks) error {
	for t, err := range s.All(ctx) {
		if err == nil {
			err = t.Error.Err()
		}
		c.seen <- err
	}
	return nil
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
