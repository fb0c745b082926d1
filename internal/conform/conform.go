// Package conform has the suites that every adapter of the ports in runtime/backend must pass: [Store], [Docs],
// [Transport], [Coordinator] and [Calls]. They test the contracts in the ports' comments and the state table; they
// read the table from backend.Transitions.
//
// An adapter's test calls a suite with a function that opens an isolated instance of the adapter, and with [Options]
// for permitted differences. [Differential] applies the same random operations to two stores and compares the
// results. [Model] is a store that is simple enough to compare with.
//
// No test sleeps and hopes: each waits for a condition, or advances the clock to an instant. With a virtual clock
// ([Options].Around is bubble.Test) waiting costs nothing.
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

// Options are an adapter's permitted differences. The zero value fits an adapter on the wall clock.
type Options struct {
	// Around runs the body of each test, such as bubble.Test does; nil calls it directly.
	Around func(t *testing.T, body func(t *testing.T))
	// Virtual reports that the clock stops while a goroutine runs, and that waiting costs nothing. Tests that need
	// minutes run only then.
	Virtual bool
	// Sleep advances the store's clock; nil means time.Sleep. A store on the test's clock is faster with a Sleep that
	// only advances it, and with a long Tick it tolerates a slow machine.
	Sleep func(time.Duration)
	// Now returns about the store's time; nil means time.Now.
	Now func() time.Time
	// Tick is a duration that the store can distinguish from zero, and within which it does what a test requests; 0
	// means 20 ms.
	Tick time.Duration
	// Overtake is how many lighter or younger ready tasks may be claimed before a task; 0 means the exact order.
	Overtake int
	// SlowSpawn reports that committing backend.MaxBatches batches takes too long.
	SlowSpawn bool
	// Many is the number of goroutines in tests of concurrency; 0 means 64.
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

// An Open opens an isolated adapter and closes it when the test ends.
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

// next returns a unique name.
func (w *world) next(prefix string) string { return fmt.Sprint(prefix, w.n.Add(1)) }

// must fails the test if err isn't nil.
func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// wantCode checks that err is a *backend.Error with this code.
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

// task returns a new task in the queue "q" with the next id, unless with changes it.
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

// insert inserts tasks and returns them as stored.
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

// claim claims up to max tasks of a queue for an owner.
func (w *world) claim(queue, owner string, max int) []backend.Task {
	w.Helper()
	tasks, _, err := w.Store.Claim(w.ctx(), backend.Claim{
		Queue: queue, Owner: owner, Nonce: w.next("nonce"), Max: max, Instance: instanceOf(owner), IP: testIP,
	})
	w.must(err)
	return tasks
}

// take claims exactly this task.
func (w *world) take(id, owner string) backend.Task {
	w.Helper()
	tasks, _, err := w.Store.Claim(w.ctx(), backend.Claim{
		Queue: w.get(id).Queue, Owner: owner, Nonce: w.next("nonce"), Max: 1, IDs: []string{id}, FanIn: true,
		Suspects: 1, Instance: instanceOf(owner), IP: testIP,
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

// settle ends a task's claim and checks that it is applied, with subtasks or without.
func (w *world) settle(t backend.Task, to backend.Status) {
	w.Helper()
	s := backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: w.next("nonce"), To: to}
	came, err := w.Store.Settle(w.ctx(), []backend.Settle{s})
	w.must(err)
	if len(came) != 1 || came[0] != backend.SettledApplied && came[0] != backend.SettledWithSubtasks {
		w.Errorf("settling %s as %s with fence %d: %v", s.ID, s.To, s.Fence, came)
	}
}

// wantSettled settles and checks the outcome.
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

// wantStatus checks the status of tasks.
func (w *world) wantStatus(want backend.Status, ids ...string) {
	w.Helper()
	for _, id := range ids {
		if got := w.get(id).Status; got != want {
			w.Errorf("task %s is %s, want %s", id, got, want)
		}
	}
}

// list lists all tasks of a query.
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
