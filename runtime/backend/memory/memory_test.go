package memory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

func TestHintIDsBoundAndRedelivery(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		mem := memory.New(memory.HintIDs(3))
		sender, receiver, other := join(t, mem, "a"), join(t, mem, "b"), join(t, mem, "c")
		taken, err := sender.Transport.Hint(t.Context(), "q", []string{"1", "2", "3", "4"})
		if err != nil || !slices.Equal(taken, []bool{true, true, true, false}) {
			t.Fatalf("taken %v, %v", taken, err)
		}
		l, err := receiver.Transport.Listen(t.Context(), "q", 2)
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.Next(t.Context(), 10)
		if err != nil || len(got) != 2 {
			t.Fatalf("received %v, %v", got, err)
		}
		up, changed := receiver.Transport.State()
		if err := receiver.Close(t.Context()); err != nil || !up {
			t.Fatal(up, err)
		}
		<-changed
		if up, _ := receiver.Transport.State(); up {
			t.Error("up after Close")
		}
		if _, err := l.Next(t.Context(), 1); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("hints of a closed session: %v", err)
		}
		l, err = other.Transport.Listen(t.Context(), "q", 10)
		if err != nil {
			t.Fatal(err)
		}
		hints, err := l.Next(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		var seen []string
		for _, h := range hints {
			seen = append(seen, fmt.Sprint(h.ID, h.Redelivered))
		}
		if want := []string{"1true", "2true", "3false"}; !slices.Equal(seen, want) {
			t.Errorf("hints %v, want %v", seen, want)
		}
		got[0].Done() // no effect: the hint was redelivered
		if n, _ := other.Transport.Depth(t.Context(), "q"); n != 0 {
			t.Errorf("depth %d", n)
		}
	})
}

func TestSlowSubscriberGetsOneGap(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := join(t, memory.New(), "a")
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		go func() {
			_ = ports.Coordinator.Subscribe(ctx, "t", func(event json.RawMessage) {
				time.Sleep(time.Second)
				got = append(got, string(event))
			})
		}()
		synctest.Wait() // fn is handling the initial gap
		for i := range 70 {
			if err := ports.Coordinator.Publish(ctx, "t", json.RawMessage(strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		cancel()
		synctest.Wait()
		if want := []string{"", "", "65", "66", "67", "68", "69"}; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

// Tasks are inserted, claimed by id, stopped, delayed and purged at random. The size of the indexes stays proportional
// to the number of tasks in the store.
func TestIndexesForgetDeletedTasks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		mem := memory.New(memory.Checked())
		s := join(t, mem, "a").Store
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		r := rand.New(rand.NewPCG(1, 1))
		const live = 500
		var waiting []string
		for i := range 20000 {
			n := backend.NewTask{Task: backend.Task{
				ID: "t" + strconv.Itoa(i), Queue: "q", Status: backend.StatusWaiting, Weight: r.IntN(50),
				UniqueKey: strconv.Itoa(i),
				Deadline:  time.Now().Add(time.Hour),
			}}
			if r.IntN(3) == 0 {
				n.Delay = time.Duration(r.IntN(100)) * time.Minute
			}
			_, err := s.Insert(ctx, []backend.NewTask{n})
			must(err)
			waiting = append(waiting, n.Task.ID)
			if len(waiting) > live {
				k := r.IntN(len(waiting))
				if _, err := s.Stop(ctx, backend.Stop{ID: waiting[k]}); err != nil && !errors.Is(err, backend.ErrNotFound) {
					t.Fatal(err) // ErrNotFound: it has ended and been purged
				}
				waiting = slices.Delete(waiting, k, k+1)
			}
			if i%7 == 0 {
				_, _, _, err := s.Promote(ctx, "q", r.IntN(20))
				must(err)
			}
			if i%5 == 0 {
				tasks, _, err := s.Claim(ctx, backend.Claim{
					Queue: "q", Owner: "o", Nonce: strconv.Itoa(i), Max: 2, IDs: []string{waiting[r.IntN(len(waiting))], waiting[0]},
				})
				must(err)
				for _, task := range tasks {
					to := []backend.Status{backend.StatusRetrying, backend.StatusSuccess, backend.StatusFailed}[r.IntN(3)]
					why := &backend.TaskError{Code: []backend.Code{backend.ErrInternal, backend.Code(task.ID)}[r.IntN(2)]}
					_, err := s.Settle(ctx, []backend.Settle{{ID: task.ID, Fence: task.Fence, Nonce: "n", To: to, Error: why,
						Delay: time.Minute}})
					must(err)
				}
			}
			if i%50 == 0 {
				_, err := s.Purge(ctx, backend.Retention{Max: 100}, 1000)
				must(err)
				time.Sleep(time.Second)
			}
		}
		for what, n := range mem.Kept() {
			if n > 4*live {
				t.Errorf("%d %s", n, what)
			}
		}
		p, err := s.List(ctx, backend.TaskQuery{Limit: 1000})
		must(err)
		if p.Total != len(p.Tasks) || p.Total > 2*live {
			t.Errorf("%d tasks of %d", len(p.Tasks), p.Total)
		}
	})
}

// A tree of 10⁵ tasks is stopped, finished and purged.
func TestLargeTree(t *testing.T) {
	const size = 100_000
	mem := memory.New()
	s := join(t, mem, "a").Store
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Insert(ctx, []backend.NewTask{{Task: backend.Task{ID: "source", Queue: "q",
		Status: backend.StatusWaiting}}})
	must(err)
	children := make([]backend.NewTask, size)
	for i := range children {
		children[i] = backend.NewTask{Gated: true, Task: backend.Task{
			ID: "source/b/" + strconv.Itoa(i), Queue: "q", Status: backend.StatusWaiting, Source: "source", Batch: "b",
		}}
	}
	_, err = s.Insert(ctx, children)
	must(err)
	must(s.Spawn(ctx, backend.Spawn{Source: "source", Batch: "b", Now: true}))
	seen := 0
	for q := (backend.TaskQuery{Source: "source", Sort: backend.SortOldest, Limit: 1000}); ; {
		p, err := s.List(ctx, q)
		must(err)
		if p.Total != size {
			t.Fatalf("total %d", p.Total)
		}
		seen += len(p.Tasks)
		if q.Cursor = p.Cursor; q.Cursor == "" {
			break
		}
	}
	if seen != size {
		t.Errorf("%d tasks on all pages", seen)
	}
	stopped, err := s.Stop(ctx, backend.Stop{ID: "source"})
	must(err)
	if len(stopped) != size+1 {
		t.Errorf("stopped %d", len(stopped))
	}
	if finished, _, err := s.Finish(ctx, "source"); !finished || err != nil {
		t.Errorf("finished is %v, %v", finished, err)
	}
	for n := 0; n < size+1; {
		some, err := s.Purge(ctx, backend.Retention{Age: time.Nanosecond}, 1000)
		must(err)
		if n += some; some == 0 {
			t.Fatalf("purged %d", n)
		}
	}
	for i := range 300 {
		for j := range children[:3] {
			children[j].Task.Source = "missing" + strconv.Itoa(i)
			children[j].Task.Deadline = time.Now().Add(time.Hour)
		}
		_, err := s.Insert(ctx, children[:3])
		must(err)
		must(s.Discard(ctx, children[0].Task.Source, "b"))
	}
	for what, n := range mem.Kept() {
		if n > 200 {
			t.Errorf("%d %s", n, what)
		}
	}
}

// taskTree inserts a source with live subtasks. The source was claimed by a worker with SubtasksDone, and settled.
func taskTree(t *testing.T, s backend.Store, to backend.Status, subtasks int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Insert(t.Context(), []backend.NewTask{{Task: backend.Task{ID: "source", Queue: "q",
		Status: backend.StatusWaiting}}})
	must(err)
	tasks, _, err := s.Claim(t.Context(), backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 1, FanIn: true})
	must(err)
	children := make([]backend.NewTask, subtasks)
	for i := range children {
		children[i] = backend.NewTask{Gated: true, Task: backend.Task{
			ID: "source/b/" + strconv.Itoa(i), Queue: "sub", Status: backend.StatusWaiting, Source: "source", Batch: "b",
		}}
	}
	_, err = s.Insert(t.Context(), children)
	must(err)
	must(s.Spawn(t.Context(), backend.Spawn{Source: "source", Batch: "b", Now: true}))
	_, err = s.Settle(t.Context(), []backend.Settle{{ID: "source", Fence: tasks[0].Fence, Nonce: "n", To: to}})
	must(err)
}

// run claims and settles all tasks of a queue.
func run(t *testing.T, s backend.Store, queue string) {
	t.Helper()
	tasks, _, err := s.Claim(t.Context(), backend.Claim{Queue: queue, Owner: "o", Nonce: "run " + queue, Max: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		_, err := s.Settle(t.Context(), []backend.Settle{{ID: task.ID, Fence: task.Fence, Nonce: "n",
			To: backend.StatusSuccess}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// If a tree is purged by several calls, the source outlives its SubtasksDone task, which must not be inserted again.
func TestPurgeInStepsInsertsNoSecondSubtasksDone(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := join(t, memory.New(memory.Checked()), "a").Store
		taskTree(t, s, backend.StatusSuccess, 2)
		run(t, s, "sub")
		if finished, queue, err := s.Finish(t.Context(), "source"); !finished || queue != "q" || err != nil {
			t.Fatalf("%v, %q, %v", finished, queue, err)
		}
		run(t, s, "q")
		time.Sleep(time.Hour)
		if n, err := s.Purge(t.Context(), backend.Retention{Age: time.Minute}, 3); n != 3 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		if finished, queue, err := s.Finish(t.Context(), "source"); !finished || queue != "" || err != nil {
			t.Errorf("finished again: %v, %q, %v", finished, queue, err)
		}
		if p, err := s.List(t.Context(), backend.TaskQuery{}); p.Total != 1 || err != nil {
			t.Errorf("%d tasks are left, %v", p.Total, err)
		}
	})
}

// Sets that are no longer unfinished are not kept as such, and a task has one deadline entry, however often it waits.
func TestUnfinishedSetsAreForgotten(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		for what, finish := range map[string]func(s backend.Store) error{
			"a set that is finished": func(s backend.Store) error {
				run(t, s, "sub")
				_, _, err := s.Finish(t.Context(), "source")
				return err
			},
			"a running subtask that was asked to stop": func(s backend.Store) error {
				_, _, err := s.Claim(t.Context(), backend.Claim{Queue: "sub", Owner: "o", Nonce: "m", Max: 1})
				if err == nil {
					_, err = s.Stop(t.Context(), backend.Stop{ID: "source", Below: true})
				}
				return err
			},
		} {
			mem := memory.New(memory.Checked())
			s := join(t, mem, "a").Store
			to := backend.StatusFailed
			if what == "a set that is finished" {
				to = backend.StatusSuccess
			}
			taskTree(t, s, to, 1)
			if err := finish(s); err != nil {
				t.Fatal(err)
			}
			if n := mem.Kept()["unfinished sets"]; n != 0 {
				t.Errorf("%s is still listed as unfinished", what)
			}
		}
		mem := memory.New(memory.Checked())
		s := join(t, mem, "a").Store
		_, err := s.Insert(t.Context(), []backend.NewTask{{Task: backend.Task{
			ID: "t", Queue: "q", Status: backend.StatusWaiting, Deadline: time.Now().Add(time.Hour),
		}}})
		for i := range 10 {
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = s.Claim(t.Context(), backend.Claim{Queue: "q", Owner: "o", Nonce: strconv.Itoa(i), Max: 1})
			if err == nil {
				_, err = s.Settle(t.Context(), []backend.Settle{{ID: "t", Fence: int64(i + 1), Nonce: "n",
					To: backend.StatusRetrying}})
			}
		}
		if n := mem.Kept()["deadlines in q"]; n != 1 {
			t.Errorf("%d deadlines of one task", n)
		}
	})
}
