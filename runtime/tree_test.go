package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A forest has a worker whose tasks submit subtasks: payload n > 0 submits n subtasks with payload n-1. Each handler
// takes a minute. Payload -1 fails, and -2 runs until it is stopped, and ten seconds longer.
type forest struct {
	app     *af.App
	q       af.Queue[int, int]
	runs    atomic.Int64 // handlers that have begun, SubtasksDone included
	running atomic.Int64
	// inDone is called by each SubtasksDone. It may be nil.
	inDone func(ctx context.Context) error
}

func plant(t *testing.T, b af.Backend, opts ...af.AppOption) *forest {
	t.Helper()
	f := &forest{app: open(t, b, opts...)}
	f.q = af.NewQueue[int, int](f.app, jobWorker)
	count := func() func() {
		f.runs.Add(1)
		f.running.Add(1)
		return func() { f.running.Add(-1) }
	}
	af.RegisterWorker(f.app, jobWorker, &fanJob{
		job{func(ctx context.Context, n int) (int, error) {
			defer count()()
			switch n {
			case -1:
				return 0, af.Permanent(errors.New("no"))
			case -2:
				<-ctx.Done()
				time.Sleep(9 * time.Second)
				return 0, nil
			}
			if n > 0 {
				ps := make([]int, n)
				for i := range ps {
					ps[i] = n - 1
				}
				must(f.q.Subtasks(ctx, af.TaskFrom(ctx).ID, ps))(t)
			}
			time.Sleep(time.Minute)
			return n, nil
		}},
		func(ctx context.Context, n int, s af.Subtasks) error {
			defer count()()
			time.Sleep(time.Minute)
			if f.inDone != nil {
				return f.inDone(ctx)
			}
			return nil
		},
	})
	start(t, f.app)
	return f
}

// ended checks that all handlers of a tree have returned, and how many tasks have which status.
func (f *forest) ended(t *testing.T, tree af.Tree, succeeded, failed, stopped int) {
	t.Helper()
	if n := f.running.Load(); n > 0 {
		t.Errorf("%d handlers are running", n)
	}
	if tree.Total != succeeded+failed+stopped || tree.Succeeded != succeeded || tree.Failed != failed ||
		tree.Stopped != stopped {
		t.Errorf("%v; want %d succeeded, %d failed, %d stopped", tree, succeeded, failed, stopped)
	}
}

// WaitTree returns when all levels have ended, and each SubtasksDone, whose task may have subtasks, too.
func TestWaitTree(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := plant(t, memory.New())
		begun := time.Now()
		f.inDone = func(ctx context.Context) error {
			if r := af.TaskFrom(ctx); strings.Count(r.ID, "/") > 1 { // not the first level
				return nil
			}
			must(f.q.Subtasks(ctx, af.TaskFrom(ctx).ID, []int{0, 0}))(t)
			return nil
		}
		id := must(f.q.Submit(t.Context(), 2))(t)
		tree := must(f.app.WaitTree(t.Context(), id))(t)
		// The task, 2 subtasks, 2 below them, and their SubtasksDone; 2 subtasks of the first, and its SubtasksDone.
		f.ended(t, tree, 1+2+2+3+2+1, 0, 0)
		if n := f.runs.Load(); n != int64(tree.Total) {
			t.Errorf("%d handlers ran, the tree has %d tasks", n, tree.Total)
		}
		// The task, SubtasksDone, its subtasks and their SubtasksDone run one after the other, next to two levels.
		if took := time.Since(begun); took < 5*time.Minute || took > 6*time.Minute {
			t.Errorf("took %v", took)
		}
		if task := tree.Task; task.ID != id || task.Status != af.StatusSuccess || task.Subtasks.Total != 2 ||
			tree.Done == nil || tree.Done.DoneOf != id || tree.Done.Status != af.StatusSuccess {
			t.Errorf("the task %v, its SubtasksDone %v", task, tree.Done)
		}
		for _, form := range []string{fmt.Sprintf("%v", tree), fmt.Sprintf("%+v", tree)} {
			if want := tree.Task.String() + "; with its tree 11 tasks: 11 succeeded, 0 failed, 0 stopped"; form != want {
				t.Errorf("prints %s, want %s", form, want)
			}
		}
		again := time.Now()
		f.ended(t, must(f.app.WaitTree(t.Context(), id))(t), 11, 0, 0)
		if took := time.Since(again); took != 0 {
			t.Errorf("waiting again took %v", took)
		}
	})
}

func TestWaitTreeOfTaskWithoutSubtasks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := plant(t, memory.New())
		for n, failed := range map[int]int{0: 0, -1: 1} {
			tree := must(f.app.WaitTree(t.Context(), must(f.q.Submit(t.Context(), n))(t)))(t)
			f.ended(t, tree, 1-failed, failed, 0)
			if tree.Done != nil {
				t.Errorf("SubtasksDone %v", tree.Done)
			}
		}
		// An empty batch is a set with SubtasksDone.
		id := must(f.q.Submit(t.Context(), 0))(t)
		must(f.q.Subtasks(t.Context(), id, nil))(t)
		tree := must(f.app.WaitTree(t.Context(), id))(t)
		f.ended(t, tree, 2, 0, 0)
		if tree.Done == nil || tree.Task.Subtasks.Total != 0 {
			t.Errorf("the task %v, its SubtasksDone %v", tree.Task, tree.Done)
		}
		_, err := f.app.WaitTree(t.Context(), "unknown")
		wantError(t, err, af.ErrNotFound, af.OutcomeUnknown, "unknown")
	})
}

// The subtasks of a source that fails or is stopped are stopped: WaitTree returns when their handlers have returned.
func TestWaitTreeOfFailedAndStoppedSources(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := plant(t, memory.New())
		stopped := must(f.q.Submit(t.Context(), -2))(t)
		must(f.q.Subtasks(t.Context(), stopped, []int{-2, 0, -1}, af.RunNow()))(t)
		must(f.q.Subtasks(t.Context(), stopped, []int{1}))(t) // waits for the source
		time.Sleep(2 * time.Minute)
		must(0, f.app.StopTask(t.Context(), stopped))(t)
		begun := time.Now()
		tree := must(f.app.WaitTree(t.Context(), stopped))(t)
		f.ended(t, tree, 1, 1, 3)
		if took := time.Since(begun); took < 9*time.Second || took > 12*time.Second {
			t.Errorf("took %v", took)
		}
		if tree.Task.Status != af.StatusStopped || tree.Done != nil {
			t.Errorf("the task %v, its SubtasksDone %v", tree.Task, tree.Done)
		}

		failed := must(f.q.Submit(t.Context(), -1, af.RunAt(time.Now().Add(time.Minute))))(t)
		must(f.q.Subtasks(t.Context(), failed, []int{-2}, af.RunNow()))(t)
		tree = must(f.app.WaitTree(t.Context(), failed))(t)
		f.ended(t, tree, 0, 1, 1)
	})
}

// Waiting costs one read every two seconds, however many tasks the tree has, and each page of subtasks is read once.
func TestWaitTreeReadsLittle(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var reads readCounter
		b := memory.New()
		f := plant(t, b)
		waiter := open(t, altered{b, func(p *backend.Ports) {
			reads.Store = p.Store
			p.Store = &reads
			p.Coordinator = deaf{p.Coordinator} // it gets no notifications
		}})
		start(t, waiter)
		id := must(f.q.Submit(t.Context(), 0, af.RunAt(time.Now().Add(time.Hour))))(t)
		must(f.q.Subtasks(t.Context(), id, make([]int, 1200)))(t)
		begun := time.Now()
		tree := must(waiter.WaitTree(t.Context(), id))(t)
		f.ended(t, tree, 1202, 0, 0)
		gets, lists := reads.gets.Load(), reads.lists.Load()
		if most := int64(time.Since(begun)/(1600*time.Millisecond)) + 20; gets > most || lists != 3 {
			t.Errorf("%d gets and %d lists in %v, want at most %d and 3", gets, lists, time.Since(begun), most)
		}
	})
}

type readCounter struct {
	backend.Store
	gets, lists atomic.Int64
}

func (s *readCounter) Get(ctx context.Context, id string) (backend.Task, error) {
	s.gets.Add(1)
	return s.Store.Get(ctx, id)
}

func (s *readCounter) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	if q.Source != "" {
		s.lists.Add(1)
	}
	return s.Store.List(ctx, q)
}

// deaf is a coordinator without events.
type deaf struct{ backend.Coordinator }

func (deaf) Publish(context.Context, string, json.RawMessage) error { return nil }

// A process finished the set and ended before it inserted the task of SubtasksDone. WaitTree inserts it.
func TestWaitTreeAfterInterruptedFinish(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := &interruptedFinish{}
		f := plant(t, altered{memory.New(), func(p *backend.Ports) { s.Store = p.Store; p.Store = s }})
		id := must(f.q.Submit(t.Context(), 1))(t)
		s.source = id
		tree := must(f.app.WaitTree(t.Context(), id))(t)
		f.ended(t, tree, 3, 0, 0)
		if tree.Done == nil {
			t.Error("SubtasksDone did not run")
		}
	})
}

// An interruptedFinish is a store in which only the fourth Finish of a source inserts the task of SubtasksDone, though
// its set is finished: the engine tries three times and leaves the rest to the sweeper.
type interruptedFinish struct {
	backend.Store
	source string
	mu     sync.Mutex
	tried  int
	counts *backend.SubtaskCounts
}

func (s *interruptedFinish) Finish(ctx context.Context, source string) (bool, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, err := s.Store.Get(ctx, source); source == s.source && err == nil && t.Status.Final() && s.tried < 3 {
		if children, err := s.Store.List(ctx, backend.TaskQuery{Source: source}); err == nil &&
			children.Tasks[0].Status.Final() {
			s.tried++
			s.counts = &backend.SubtaskCounts{Total: 1, Succeeded: 1}
			return false, "", backend.Errorf(backend.ErrUnavailable, "interrupted")
		}
	}
	return s.Store.Finish(ctx, source)
}

func (s *interruptedFinish) Get(ctx context.Context, id string) (backend.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.Store.Get(ctx, id)
	if id == s.source && t.Subtasks == nil {
		t.Subtasks = s.counts
	}
	return t, err
}

func TestWaitTreeEndsWithItsContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := plant(t, memory.New())
		id := must(f.q.Submit(t.Context(), 1))(t)
		for _, after := range []time.Duration{30 * time.Second, 60 * time.Second, 60 * time.Second} { // at each level
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			_, err := f.app.WaitTree(ctx, id)
			wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeUnknown, "wait for task "+id)
		}
		f.ended(t, must(f.app.WaitTree(t.Context(), id))(t), 3, 0, 0)

		id = must(f.q.Submit(t.Context(), 1))(t)
		left := make(chan error, 1)
		go func() {
			_, err := f.app.WaitTree(context.Background(), id)
			left <- err
		}()
		time.Sleep(90 * time.Second)
		must(0, f.app.Shutdown(t.Context()))(t)
		wantError(t, <-left, af.ErrUnavailable, af.OutcomeUnknown, "shut down")
	})
}

// Retention deletes trees as a whole: WaitTree returns what it has read, or that the task is not found.
func TestWaitTreeOfPurgedTree(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := plant(t, memory.New(), af.Retention(time.Hour, 0))
		id := must(f.q.Submit(t.Context(), 1))(t)
		f.ended(t, must(f.app.WaitTree(t.Context(), id))(t), 3, 0, 0)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		_, err := f.app.WaitTree(t.Context(), id)
		wantError(t, err, af.ErrNotFound, af.OutcomeUnknown, id)
	})
}

// A handler can't wait for a tree that contains its own task.
func TestWaitTreeInHandler(t *testing.T) {
	for name, refused := range map[string]bool{
		"itself": true, "source": true, "source_of_source": true, "done": true, "gated": true, "now": false, "other": false,
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				app := open(t, memory.New())
				q := af.NewQueue[string, int](app, jobWorker)
				got := make(chan error, 1)
				wait := func(ctx context.Context, id string) (int, error) {
					begun := time.Now()
					_, err := app.WaitTree(ctx, id)
					if refused && time.Since(begun) != 0 {
						t.Errorf("refused after %v", time.Since(begun))
					}
					got <- err
					return 0, nil
				}
				af.RegisterWorker(app, jobWorker, &textFan{
					func(ctx context.Context, p string) (int, error) {
						me := af.TaskFrom(ctx)
						sub := func(p string, opts ...af.SubtaskOption) string {
							return must(q.Subtasks(ctx, me.ID, []string{p}, opts...))(t)[0]
						}
						switch p {
						case "itself":
							return wait(ctx, me.ID)
						case "source":
							sub("wait for source", af.RunNow())
							select {
							case <-ctx.Done():
							case <-time.After(time.Minute):
							}
						case "source_of_source":
							sub("source of source")
						case "source of source":
							sub("wait for source of source")
						case "wait for source":
							return wait(ctx, me.Source)
						case "wait for source of source":
							return wait(ctx, must(app.GetTask(ctx, me.Source))(t).Source)
						case "done":
							sub("")
						case "gated":
							return wait(ctx, sub(""))
						case "now":
							return wait(ctx, sub("", af.RunNow()))
						case "other":
							return wait(ctx, must(q.Submit(ctx, ""))(t))
						}
						return 0, nil
					},
					func(ctx context.Context, p string) error {
						if p == "done" {
							_, err := wait(ctx, must(app.GetTask(ctx, af.TaskFrom(ctx).ID))(t).DoneOf)
							return err
						}
						return nil
					},
				})
				start(t, app)
				must(q.Submit(t.Context(), name))(t)
				err := <-got
				if !refused && err != nil {
					t.Errorf("not refused: %v", err)
				}
				if refused {
					wantError(t, err, af.ErrFailedPrecondition, af.OutcomeNotSent, "wait")
				}
			})
		})
	}
}

type textFan struct {
	run  func(ctx context.Context, p string) (int, error)
	done func(ctx context.Context, p string) error
}

func (f *textFan) Run(ctx context.Context, p string) (int, error) { return f.run(ctx, p) }

func (f *textFan) SubtasksDone(ctx context.Context, p string, _ af.Subtasks) error {
	return f.done(ctx, p)
}
