package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"

	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/testkit"
)

// paused is a backend that calls after whenever a part of a batch was inserted, with the number of parts before it.
func paused(b af.Backend, after func(piece int)) af.Backend {
	pieces := 0
	return altered{b, func(p *backend.Ports) { p.Store = pausedStore{p.Store, &pieces, after} }}
}

type pausedStore struct {
	backend.Store
	pieces *int
	after  func(piece int)
}

func (s pausedStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	stored, err := s.Store.Insert(ctx, tasks)
	if err == nil && len(tasks) > 0 && tasks[0].Gated {
		s.after(*s.pieces)
		*s.pieces++
	}
	return stored, err
}

// wantBatch checks that the subtasks of a source are exactly those with the returned ids, and that all of them run.
func wantBatch(t *testing.T, store backend.Store, source string, ids []string, n int) {
	t.Helper()
	var there []string
	q := backend.TaskQuery{Source: source, Limit: 1000, Sort: backend.SortOldest}
	for {
		page := must(store.List(t.Context(), q))(t)
		for _, task := range page.Tasks {
			there = append(there, task.ID)
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			break
		}
	}
	sorted := slices.Sorted(slices.Values(ids))
	slices.Sort(there)
	if len(ids) != n || !slices.Equal(sorted, there) {
		t.Fatalf("%d ids, %d stored tasks, want %d", len(ids), len(there), n)
	}
}

// A batch of several inserts is complete, however long they take and whatever happens between them.
func TestLargeBatchIsComplete(t *testing.T) {
	testkit.Long(t, "it simulates minutes of many tasks")
	const n = 2500
	for _, c := range []struct {
		name  string
		after func(piece int, w *fault.World, b *fault.Backend, others backend.Store)
		most  int // number of inserts
	}{
		{"slow", func(int, *fault.World, *fault.Backend, backend.Store) { time.Sleep(8 * time.Second) }, 3},
		{"very_slow", func(int, *fault.World, *fault.Backend, backend.Store) { time.Sleep(100 * time.Second) }, 3},
		{"hung", func(piece int, _ *fault.World, _ *fault.Backend, _ backend.Store) {
			if piece == 0 {
				time.Sleep(10 * time.Minute) // after which the sweeper considers the batch abandoned
			}
		}, 6},
		{"swept", func(piece int, _ *fault.World, _ *fault.Backend, others backend.Store) {
			if piece < 4 {
				_ = others.Discard(context.Background(), "source", "k-b")
			}
		}, 9},
		{"replies_lost", func(_ int, _ *fault.World, b *fault.Backend, _ backend.Store) {
			b.Fail("Insert", 1, fault.ReplyLost)
			b.Fail("Spawn", 1, fault.ReplyLost)
			time.Sleep(8 * time.Second)
		}, 6},
		{"failover", func(piece int, w *fault.World, b *fault.Backend, _ backend.Store) {
			if piece == 1 {
				b.Fail("Insert", 1, fault.ReplyLost)
				time.AfterFunc(time.Millisecond, func() { w.Down(false) })
				time.AfterFunc(12*time.Second, w.Up)
			}
		}, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				world := fault.Around(memory.New())
				others := must(world.Open(t.Context(), backend.Env{}))(t).Store
				b := fault.New(world, 1, fault.Plan{})
				inserts := 0
				_, q := work(t, paused(b, func(piece int) { inserts++; c.after(piece, world, b, others) }), jobWorker, same)
				must(q.Submit(t.Context(), 1, af.TaskID("source"), af.RunAt(time.Now().Add(time.Hour))))(t)
				ids := must(q.Subtasks(t.Context(), "source", make([]int, n), af.Batch("b")))(t)
				wantBatch(t, others, "source", ids, n)
				if inserts > c.most {
					t.Errorf("%d inserts, want at most %d", inserts, c.most)
				}
				must(q.Wait(t.Context(), "source"))(t)
				time.Sleep(5 * time.Minute)
				if s := must(q.Get(t.Context(), "source"))(t).Subtasks; s == nil || s.Total != n || s.Succeeded != n {
					t.Errorf("subtasks: %+v", s)
				}
			})
		})
	}
}

// A batch whose process has died is discarded.
func TestBatchOfDeadProcessIsDiscarded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		_, q := process(t, world, fault.Plan{}, jobWorker, same)
		others := must(world.Open(t.Context(), backend.Env{}))(t).Store
		must(q.Submit(t.Context(), 1, af.TaskID("source"), af.RunAt(time.Now().Add(time.Hour))))(t)
		b := fault.New(world, 1, fault.Plan{})
		doomed := af.NewQueue[int, int](openStarted(t, paused(b, func(piece int) {
			if piece == 1 {
				b.Crash()
			}
		})), jobWorker)
		if _, err := doomed.Subtasks(t.Context(), "source", make([]int, 2500)); err == nil {
			t.Fatal("a dead process stored subtasks")
		}
		total := func() int {
			return must(others.List(t.Context(), backend.TaskQuery{Source: "source"}))(t).Total
		}
		if n := total(); n != 2000 {
			t.Fatalf("%d tasks are left", n)
		}
		time.Sleep(3 * time.Minute)
		if n := total(); n != 0 {
			t.Errorf("%d tasks are left", n)
		}
	})
}

// A handler that runs again with fewer payloads replaces the uncommitted batch of its dead attempt.
func TestBatchOfDeadAttemptIsReplaced(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		_, q := process(t, world, fault.Plan{}, jobWorker, same)
		others := must(world.Open(t.Context(), backend.Env{}))(t).Store
		must(q.Submit(t.Context(), 1, af.TaskID("source"), af.RunAt(time.Now().Add(time.Hour))))(t)
		var left []backend.NewTask
		for i := range 5 {
			left = append(left, backend.NewTask{Gated: true, Task: backend.Task{
				ID: backend.SubtaskID("source", "k-b",
					i), Queue: jobWorker.Name, Status: backend.StatusWaiting, Source: "source", Batch: "k-b",
				Payload: []byte("1"),
			}})
		}
		must(others.Insert(t.Context(), left))(t)
		ids := must(q.Subtasks(t.Context(), "source", make([]int, 3), af.Batch("b")))(t)
		wantBatch(t, others, "source", ids, 3)
	})
}

// A task of a user with the id of a subtask is not part of a batch.
func TestSubtaskWithIDInUse(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, q := work(t, memory.New(), jobWorker, same)
		must(q.Submit(t.Context(), 1, af.TaskID("source"), af.RunAt(time.Now().Add(time.Hour))))(t)
		must(q.Submit(t.Context(), 1, af.TaskID("source/k-b/1")))(t)
		_, err := q.Subtasks(t.Context(), "source", make([]int, 3), af.Batch("b"))
		wantError(t, err, af.ErrAlreadyExists, af.OutcomeNotSent, "source/k-b/1")
	})
}

// An attempt that has lost its claim adds no subtasks, and removes none of the current attempt.
func TestStaleAttemptAddsNoSubtasks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		others := must(world.Open(t.Context(), backend.Env{}))(t).Store
		var kids af.Queue[int, int]
		stale := make(chan error, 1)
		run := func(ctx context.Context, n int) (int, error) {
			r := af.TaskFrom(ctx)
			if n == 0 {
				return 0, nil
			}
			if r.Fence == 1 { // the first attempt ignores its context and continues when the second one has ended
				<-ctx.Done()
				time.Sleep(time.Minute)
				_, err := kids.Subtasks(context.WithoutCancel(ctx), r.ID, make([]int, 1500), af.Batch("late"))
				stale <- err
				return 0, err
			}
			time.Sleep(2 * time.Minute)
			_, err := kids.Subtasks(ctx, r.ID, make([]int, 2), af.Batch("mine"))
			return n, err
		}
		w := jobWorker
		w.Retries = 5
		first, q := process(t, world, fault.Plan{}, w, run)
		kids = q
		id := must(q.Submit(t.Context(), 1))(t)
		time.Sleep(time.Second)
		_, _ = process(t, world, fault.Plan{}, w, run)
		first.Cut(fault.Requests)
		time.Sleep(40 * time.Second)
		first.Cut(fault.Neither)
		err := <-stale
		if !errors.Is(err, af.ErrAborted) {
			t.Errorf("Subtasks of a stale attempt: %v", err)
		}
		must(q.Wait(t.Context(), id))(t)
		time.Sleep(5 * time.Minute)
		task := must(others.Get(t.Context(), id))(t)
		if s := task.Subtasks; s == nil || s.Total != 2 || s.Succeeded != 2 {
			t.Errorf("%+v, subtasks %+v", task, s)
		}
		wantBatch(t, others, id, []string{id + "/k-mine/0", id + "/k-mine/1"}, 2)
	})
}

// The number of batches of a source is limited.
func TestNumberOfBatchesIsLimited(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, q := work(t, memory.New(), jobWorker, same)
		source := must(q.Submit(t.Context(), 1, af.RunAt(time.Now().Add(time.Hour))))(t)
		for i := range backend.MaxBatches {
			must(q.Subtasks(t.Context(), source, nil, af.Batch(fmt.Sprint(i))))(t)
		}
		_, err := q.Subtasks(t.Context(), source, []int{1}, af.Batch("more"))
		wantError(t, err, af.ErrResourceExhausted, af.OutcomeAnswered, "use larger batches")
		must(q.Subtasks(t.Context(), source, nil, af.Batch("7")))(t)
	})
}
