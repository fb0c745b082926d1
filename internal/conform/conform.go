// Package conform holds the suites that every adapter of the ports in runtime/backend passes: [Store], [Docs],
// [Transport], [Coordinator] and [Calls]. What they demand is what the ports' comments promise, and what the state table
// allows and refuses; the table itself is read from backend.Transitions, not repeated.
//
// An adapter's test calls a suite with a function that opens it, each time on a world of its own, and with [Options]
// that say where adapters may differ. [Differential] drives two stores with the same random operations and compares
// what they say; [Model] is a store so simple that it is easily believed, to compare with.
//
// Nothing here sleeps in the hope that something has happened: a test waits for what it wants to see, or lets the clock
// go on to where it must be. With a virtual clock ([Options].Around is synctest.Test) waiting costs nothing.
package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/runtime/backend"
)

// Options say where adapters may differ. The zero value suits one that runs on the wall clock.
type Options struct {
	// Around runs the body of each test, such as synctest.Test does; nil calls it as it is.
	Around func(t *testing.T, body func(t *testing.T))
	// Virtual says that the clock stands still while somebody runs, and that waiting costs nothing: tests that need
	// minutes run only then.
	Virtual bool
	// Sleep lets the store's clock go on; nil is time.Sleep. A store whose clock is the test's is faster with one that only
	// turns it on, and with a long Tick doesn't mind a slow machine.
	Sleep func(time.Duration)
	// Now is the store's time, or close to it; nil is time.Now.
	Now func() time.Time
	// Tick is a time that the store can tell from none, and in which it does what a test asks; 0 is 20 ms.
	Tick time.Duration
	// Overtake is by how many lighter or younger ready tasks one may be overtaken at a claim; 0 is the exact order.
	Overtake int
	// SlowSpawn says that committing backend.MaxBatches batches would take too long.
	SlowSpawn bool
	// Many is how many goroutines compete in a test of concurrency; 0 is 64.
	Many int
}

func (o Options) defaults() Options {
	if o.Around == nil {
		o.Around = func(t *testing.T, body func(t *testing.T)) { body(t) }
	}
	if o.Sleep == nil {
		o.Sleep = time.Sleep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Tick == 0 {
		o.Tick = 20 * time.Millisecond
	}
	if o.Many == 0 {
		o.Many = 64
	}
	return o
}

// An Open opens an adapter on a world of its own and closes it when the test ends.
type Open = func(t *testing.T) *backend.Ports

// A world is an open adapter within one test.
type world struct {
	*testing.T
	*backend.Ports
	o Options
	n atomic.Int64
}

// A behaviour is one test of a suite.
type behaviour struct {
	name string
	test func(w *world)
}

func run(t *testing.T, open Open, o Options, behaviours []behaviour) {
	o = o.defaults()
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) {
			o.Around(t, func(t *testing.T) { b.test(&world{T: t, Ports: open(t), o: o}) })
		})
	}
}

func (w *world) ctx() context.Context { return w.Context() }

// next returns a name that no other has.
func (w *world) next(prefix string) string { return fmt.Sprint(prefix, w.n.Add(1)) }

// must ends the test with an error, if there is one.
func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// wantCode checks an error: *backend.Error with this code.
func (w *world) wantCode(err error, code backend.Code) {
	w.Helper()
	if _, ok := errors.AsType[*backend.Error](err); !ok || !errors.Is(err, code) {
		w.Errorf("error %v (%T), want %s", err, err, code)
	}
}

// WantError checks the error of a call.
func WantError(t testing.TB, err error, code backend.Code, outcome backend.Outcome) {
	t.Helper()
	if e, ok := errors.AsType[*backend.Error](err); !ok || e.Code != code || e.Outcome != outcome {
		t.Errorf("error %v, want %s, %v", err, code, outcome)
	}
}

// same checks that two values are equal.
func (w *world) same(what string, got, want any) {
	w.Helper()
	if d := cmp.Diff(want, got); d != "" {
		w.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// eventually waits until cond holds.
func (w *world) eventually(what string, cond func() bool) {
	w.Helper()
	for range 500 {
		if cond() {
			return
		}
		w.o.Sleep(w.o.Tick)
	}
	w.Fatalf("never came: %s", what)
}

// A task's making, for tests: the queue "q" and the next id unless with says otherwise.
func (w *world) task(with ...func(*backend.NewTask)) backend.NewTask {
	n := backend.NewTask{Task: backend.Task{
		ID: w.next("t"), Queue: "q", Status: backend.StatusWaiting, Weight: 1, Payload: json.RawMessage(`{"n":1}`),
	}}
	for _, f := range with {
		f(&n)
	}
	return n
}

func in(queue string) func(*backend.NewTask) {
	return func(n *backend.NewTask) { n.Task.Queue = queue }
}
func id(id string) func(*backend.NewTask) { return func(n *backend.NewTask) { n.Task.ID = id } }
func weight(i int) func(*backend.NewTask) { return func(n *backend.NewTask) { n.Task.Weight = i } }
func unique(key string) func(*backend.NewTask) {
	return func(n *backend.NewTask) { n.Task.UniqueKey = key }
}
func delay(d time.Duration) func(*backend.NewTask) { return func(n *backend.NewTask) { n.Delay = d } }
func (w *world) deadline(d time.Duration) func(*backend.NewTask) {
	return func(n *backend.NewTask) { n.Task.Deadline = w.o.Now().Add(d).Truncate(time.Millisecond) }
}
func status(s backend.Status) func(*backend.NewTask) {
	return func(n *backend.NewTask) { n.Task.Status = s }
}
func child(source, batch string) func(*backend.NewTask) {
	return func(n *backend.NewTask) { n.Gated, n.Task.Source, n.Task.Batch = true, source, batch }
}
func onFailure(p backend.FailurePolicy) func(*backend.NewTask) {
	return func(n *backend.NewTask) { n.Task.OnFailure = p }
}

// insert inserts tasks and returns what is stored.
func (w *world) insert(tasks ...backend.NewTask) []backend.Task {
	w.Helper()
	stored, err := w.Store.Insert(w.ctx(), tasks)
	w.must(err)
	if len(stored) != len(tasks) {
		w.Fatalf("%d tasks stored of %d", len(stored), len(tasks))
	}
	return stored
}

// add inserts one task and returns its id.
func (w *world) add(with ...func(*backend.NewTask)) string {
	w.Helper()
	return w.insert(w.task(with...))[0].ID
}

// claim takes up to max tasks of a queue for an owner.
func (w *world) claim(queue, owner string, max int) []backend.Task {
	w.Helper()
	tasks, _, err := w.Store.Claim(w.ctx(), backend.Claim{Queue: queue, Owner: owner, Nonce: w.next("nonce"), Max: max})
	w.must(err)
	return tasks
}

// take claims just this task.
func (w *world) take(id, owner string) backend.Task {
	w.Helper()
	tasks, _, err := w.Store.Claim(w.ctx(), backend.Claim{
		Queue: w.get(id).Queue, Owner: owner, Nonce: w.next("nonce"), Max: 1, IDs: []string{id}, FanIn: true,
		Suspects: 1,
	})
	w.must(err)
	if len(tasks) != 1 || tasks[0].ID != id {
		w.Fatalf("claimed %v, want %s", ids(tasks), id)
	}
	return tasks[0]
}

func (w *world) get(id string) backend.Task {
	w.Helper()
	t, err := w.Store.Get(w.ctx(), id)
	w.must(err)
	return t
}

// settle ends the claim of a task and wants it applied, with subtasks or without.
func (w *world) settle(t backend.Task, to backend.Status) {
	w.Helper()
	s := backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: w.next("nonce"), To: to}
	came, err := w.Store.Settle(w.ctx(), []backend.Settle{s})
	w.must(err)
	if len(came) != 1 || came[0] != backend.SettledApplied && came[0] != backend.SettledWithSubtasks {
		w.Errorf("settling %s as %s with fence %d: %v", s.ID, s.To, s.Fence, came)
	}
}

// wantSettled settles and checks what came of it.
func (w *world) wantSettled(s backend.Settle, want backend.Settled) {
	w.Helper()
	came, err := w.Store.Settle(w.ctx(), []backend.Settle{s})
	w.must(err)
	if len(came) != 1 || came[0] != want {
		w.Errorf("settling %s as %s with fence %d: %v, want %v", s.ID, s.To, s.Fence, came, want)
	}
}

// done runs a task to its end.
func (w *world) done(id string, to backend.Status) {
	w.Helper()
	w.settle(w.take(id, "owner"), to)
}

// wantStatus checks where tasks stand.
func (w *world) wantStatus(want backend.Status, ids ...string) {
	w.Helper()
	for _, id := range ids {
		if got := w.get(id).Status; got != want {
			w.Errorf("task %s is %s, want %s", id, got, want)
		}
	}
}

// page lists all tasks of a query.
func (w *world) list(q backend.TaskQuery) []backend.Task {
	w.Helper()
	var all []backend.Task
	for {
		p, err := w.Store.List(w.ctx(), q)
		w.must(err)
		all = append(all, p.Tasks...)
		if q.Cursor = p.Cursor; q.Cursor == "" {
			return all
		}
	}
}

func ids(tasks []backend.Task) []string {
	out := []string{}
	for _, t := range tasks {
		out = append(out, t.ID)
	}
	return out
}
