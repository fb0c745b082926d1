package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
)

// deletions are the ways to delete the task of a fire. Each reports whether the task was deleted.
var deletions = map[string]func(t *testing.T, app *af.App, id string) bool{
	"one": func(t *testing.T, app *af.App, id string) bool {
		err := app.DeleteTask(t.Context(), id)
		if err != nil && !errors.Is(err, af.ErrFailedPrecondition) {
			t.Fatal(err)
		}
		return err == nil
	},
	"bulk": func(t *testing.T, app *af.App, _ string) bool {
		r := must(app.DeleteTasks(t.Context(), af.TaskQuery{Queue: "job"}))(t)
		return len(r.Failed) == 0 && r.Changed == 1
	},
}

// A scheduler dies after it has inserted the task of a fire, before or after it has added the fire to the history. The
// task ends and is deleted before another scheduler continues: this one does not insert the task again.
func TestDeletedFireOfDeadSchedulerIsNotFiredAgain(t *testing.T) {
	for how, remove := range deletions {
		for writes, died := range []string{1: "before_history", 2: "after_history"} {
			if died == "" {
				continue
			}
			t.Run(how+"/"+died, func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					world := fault.Around(memory.New())
					var runs atomic.Int32
					run := func(_ context.Context, n int) (int, error) { runs.Add(1); return n, nil }
					app, q := work(t, world, jobWorker, run, af.NoScheduler())
					dying := &crashing{Backend: fault.New(world, 1, fault.Plan{}), op: "Docs.PutAll"}
					start(t, open(t, dying))
					must(0, q.Schedule(t.Context(), "j", "@every 1h", 1))(t)
					from := time.Now()
					time.Sleep(time.Hour - time.Second)
					dying.after.Store(int32(writes + 1))
					time.Sleep(2 * time.Second)
					<-dying.Dead()
					id := fmt.Sprintf("job/j/%d", from.Add(time.Hour).Unix())
					for began := time.Now(); !remove(t, app, id); time.Sleep(time.Second) {
						if time.Since(began) > time.Minute {
							t.Fatal("not deleted for a minute")
						}
					}
					must(0, app.StartScheduler(t.Context()))(t)
					time.Sleep(time.Minute)
					if n := runs.Load(); n != 1 {
						t.Errorf("%d runs of one due time", n)
					}
					if n := len(must(app.Fires(t.Context(), af.FireQuery{Job: "j"}))(t).Fires); n != 1 {
						t.Errorf("%d fires in the history, want 1", n)
					}
					for _, v := range world.Log().CheckJobs() {
						t.Error(v)
					}
				})
			})
		}
	}
}

// A slowFiring backend delays the first insert of a task of a job.
type slowFiring struct {
	backend.Backend
	by   time.Duration
	left atomic.Int32
	done chan struct{} // closed after the insert
}

func (s *slowFiring) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := s.Backend.Open(ctx, env)
	if err == nil {
		ports.Store = slowFiringStore{ports.Store, s}
	}
	return ports, err
}

type slowFiringStore struct {
	backend.Store
	s *slowFiring
}

func (x slowFiringStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	if len(tasks) > 0 && strings.HasPrefix(tasks[0].Task.ID, "job/") && x.s.left.Add(-1) == 0 {
		time.Sleep(x.s.by)
		defer close(x.s.done)
	}
	return x.Store.Insert(ctx, tasks)
}

// removeMeanwhile calls remove with the tasks of jobs, again and again, until the insert that hangs has ended.
func (s *slowFiring) removeMeanwhile(t *testing.T, world af.Backend, remove func(id string)) {
	t.Helper()
	for began := time.Now(); ; {
		select {
		case <-s.done:
			return
		case <-time.After(100 * time.Millisecond):
			if time.Since(began) > time.Minute {
				t.Fatal("no insert has hung")
			}
			for _, task := range jobTasks(t, world, "job") {
				remove(task.ID)
			}
		}
	}
}

// awaitHanging waits until an insert hangs.
func (s *slowFiring) awaitHanging() {
	for s.left.Load() > 0 {
		time.Sleep(10 * time.Millisecond) // virtual
	}
}

// The leader hangs for as long as a request may take, after it has checked that a fire was not carried out, and before
// it inserts its task. Another scheduler inserts the task meanwhile, which ends and can't be removed at once: the
// leader's insert finds it.
func TestRemovedFireIsNotFiredAgainByHangingScheduler(t *testing.T) {
	remove := map[string]func(t *testing.T, app *af.App, id string) bool{
		"retention": func(*testing.T, *af.App, string) bool { return false },
	}
	for how, fn := range deletions {
		remove[how] = fn
	}
	for how, remove := range remove {
		t.Run(how, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				world := fault.Around(memory.New())
				slow := &slowFiring{Backend: world, by: 9500 * time.Millisecond, done: make(chan struct{})}
				slow.left.Store(1)
				start(t, open(t, slow, af.Retention(time.Second, 1)))
				var runs atomic.Int32
				run := func(_ context.Context, n int) (int, error) { runs.Add(1); return n, nil }
				app, q := work(t, slow, jobWorker, run, af.Retention(time.Second, 1))
				// Another scheduler fires it two seconds later, shortly before the purge of the first minute.
				must(0, q.Schedule(t.Context(), "j", "@every 58s", 1))(t)
				time.Sleep(58 * time.Second)
				slow.removeMeanwhile(t, world, func(id string) { remove(t, app, id) })
				time.Sleep(10 * time.Second)
				if n := runs.Load(); n != 1 {
					t.Errorf("%d runs of one due time", n)
				}
				for _, v := range world.Log().CheckJobs() {
					t.Error(v)
				}
			})
		})
	}
}

// A scheduler dies after it has inserted the task of a fire, which ends. Later two others find the fire. One hangs before
// it inserts the task, for as long as a request may take, and the other carries the fire out. The task can't be removed
// before the first one has inserted it again.
func TestFireCarriedOutLateIsNotFiredAgainByHangingScheduler(t *testing.T) {
	for how, remove := range deletions {
		t.Run(how, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				world := fault.Around(memory.New())
				var runs atomic.Int32
				run := func(_ context.Context, n int) (int, error) { runs.Add(1); return n, nil }
				var ready atomic.Bool // before that, a purge can't mark the fire as ended
				app, q := work(t, altered{world, func(p *backend.Ports) { p.Docs = unmarked{p.Docs, &ready} }}, jobWorker, run,
					af.NoScheduler())
				dying := &crashing{Backend: fault.New(world, 1, fault.Plan{}), op: "Docs.PutAll"}
				start(t, open(t, dying))
				must(0, q.Schedule(t.Context(), "j", "@every 1h", 1))(t)
				time.Sleep(time.Hour - time.Second)
				dying.after.Store(2)
				time.Sleep(time.Minute)
				<-dying.Dead()
				slow := &slowFiring{Backend: world, by: 9500 * time.Millisecond, done: make(chan struct{})}
				slow.left.Store(1)
				start(t, open(t, slow))
				slow.awaitHanging()
				ready.Store(true)
				must(0, app.StartScheduler(t.Context()))(t)
				slow.removeMeanwhile(t, world, func(id string) { remove(t, app, id) })
				time.Sleep(time.Minute)
				if n := runs.Load(); n != 1 {
					t.Errorf("%d runs of one due time", n)
				}
				for id := range jobTasks(t, world, "job") {
					if !remove(t, app, id) {
						t.Errorf("%s can't be deleted", id)
					}
				}
				for _, v := range world.Log().CheckJobs() {
					t.Error(v)
				}
			})
		})
	}
}

// unmarked refuses writes of several documents until it is ready.
type unmarked struct {
	backend.Docs
	ready *atomic.Bool
}

func (d unmarked) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	if !d.ready.Load() {
		return nil, backend.NewError(backend.ErrUnavailable, "not ready").With(backend.OutcomeNotSent)
	}
	return d.Docs.PutAll(ctx, docs)
}

// The only job is removed while a scheduler hangs before it inserts a task. Retention keeps the stopped task that has
// taken its place until the scheduler has inserted it.
func TestFireOfTheLastRemovedJobIsNotFired(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		slow := &slowFiring{Backend: world, by: 9500 * time.Millisecond, done: make(chan struct{})}
		slow.left.Store(1)
		start(t, open(t, slow, af.Retention(time.Second, 1)))
		var runs atomic.Int32
		run := func(_ context.Context, n int) (int, error) { runs.Add(1); return n, nil }
		app, q := work(t, world, jobWorker, run, af.Retention(time.Second, 1), af.NoScheduler())
		must(0, q.Schedule(t.Context(), "j", "@every 57s", 1))(t)
		slow.awaitHanging()
		must(0, app.RemoveJob(t.Context(), "j"))(t)
		<-slow.done
		time.Sleep(10 * time.Second)
		if n := runs.Load(); n != 0 {
			t.Errorf("%d runs after the job was removed", n)
		}
		time.Sleep(2 * time.Minute)
		if left := jobTasks(t, world, "job"); len(left) > 0 {
			t.Errorf("not deleted: %v", left)
		}
	})
}
