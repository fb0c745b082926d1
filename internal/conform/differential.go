package conform

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/afgen/afgen/runtime/backend"
)

// Differential applies the same random operations to two stores in turn, and compares the results and all tasks after
// each. With o.Virtual it also compares times and advances the clock. Otherwise it tests only what doesn't depend on
// the clock.
func Differential(t *testing.T, a, b Open, o Options) {
	o = o.defaults()
	o.Around(t, func(t *testing.T) {
		rapid.Check(timeless{t}, func(rt *rapid.T) {
			m := &machine{T: rt, o: o, a: a(t).Store, b: b(t).Store}
			for i, op := range rapid.SliceOfN(operations, 100, 200).Draw(rt, "operations") {
				m.name = fmt.Sprintf("operation %d, %s", i, op)
				op.do(m, op)
				m.both(func(s backend.Store) any { return m.all(s) })
				if o.Virtual {
					o.Sleep(time.Millisecond)
				}
			}
		})
	})
}

// timeless hides a test's deadline, which a bubble must not read.
type timeless struct{ testing.TB }

// A machine applies operations to two stores.
type machine struct {
	*rapid.T
	o     Options
	a, b  backend.Store
	name  string
	nonce int
}

// An operation is one operation of the machine. Each kind interprets the numbers in its own way.
type operation struct {
	name       string
	do         func(m *machine, op operation)
	A, B, C, D int
}

func (op operation) String() string { return fmt.Sprint(op.name, " ", op.A, op.B, op.C, op.D) }

var operations = rapid.Custom(func(rt *rapid.T) operation {
	kind := rapid.SampledFrom(kinds).Draw(rt, "kind")
	n := rapid.IntRange(0, 11)
	return operation{kind.name, kind.do, n.Draw(rt, "a"), n.Draw(rt, "b"), n.Draw(rt, "c"), n.Draw(rt, "d")}
})

// kinds lists the operations; frequent ones occur several times.
var kinds = func() []operation {
	var all []operation
	for _, k := range []struct {
		often int
		op    operation
	}{
		{1, operation{name: "nothing", do: func(*machine, operation) {}}}, // what an operation shrinks to
		{4, operation{name: "insert", do: doInsert}},
		{3, operation{name: "insert subtasks", do: doInsertSubtasks}},
		{3, operation{name: "spawn", do: doSpawn}},
		{1, operation{name: "discard", do: doDiscard}},
		{2, operation{name: "open", do: doOpen}},
		{3, operation{name: "finish", do: doFinish}},
		{4, operation{name: "claim", do: doClaim}},
		{2, operation{name: "claim ids", do: doClaimIDs}},
		{6, operation{name: "settle", do: doSettle}},
		{1, operation{name: "progress", do: doProgress}},
		{1, operation{name: "mark retried", do: doMarkRetried}},
		{1, operation{name: "beat", do: doBeat}},
		{2, operation{name: "expire", do: doExpire}},
		{1, operation{name: "drain", do: doDrain}},
		{1, operation{name: "refund", do: doRefund}},
		{3, operation{name: "promote", do: doPromote}},
		{2, operation{name: "stop", do: doStop}},
		{2, operation{name: "look", do: doLook}},
		{2, operation{name: "list", do: doList}},
		{3, operation{name: "adjust", do: doAdjust}},
		{1, operation{name: "delete", do: doDelete}},
		{1, operation{name: "count", do: doCount}},
		{1, operation{name: "purge", do: doPurge}},
		{2, operation{name: "sleep", do: doSleep}},
	} {
		all = append(all, slices.Repeat([]operation{k.op}, k.often)...)
	}
	return all
}()

// both does the same on both stores and compares the results.
func (m *machine) both(f func(s backend.Store) any) {
	m.Helper()
	a, b := f(m.a), f(m.b)
	if m.o.Virtual && reflect.DeepEqual(a, b) {
		return // the common case, and fast
	}
	opts := []cmp.Option{
		cmpopts.EquateEmpty(),
		cmpopts.SortSlices(func(a, b backend.Unfinished) bool { return fmt.Sprint(a) < fmt.Sprint(b) }),
		cmpopts.SortSlices(func(a, b backend.Owned) bool { return a.ID < b.ID }),
	}
	if !m.o.Virtual {
		opts = append(opts, cmp.Comparer(func(a, b time.Time) bool { return a.IsZero() == b.IsZero() }))
	}
	if d := cmp.Diff(a, b, opts...); d != "" {
		m.Fatalf("%s (-first +second):\n%s", m.name, d)
	}
}

// outcome returns the results of a method. For an error only the code counts.
func outcome(err error, values ...any) any { return append(values, string(backend.CodeOf(err))) }

// coarse removes from tasks what stores may word differently.
func coarse(tasks []backend.Task) []backend.Task {
	for i := range tasks {
		if e := tasks[i].Error; e != nil {
			tasks[i].Error = &backend.TaskError{Code: e.Code, Details: e.Details}
		}
		tasks[i].Attempts = slices.Clone(tasks[i].Attempts) // the store may keep them
		for j := range tasks[i].Attempts {
			tasks[i].Attempts[j].Message = ""
		}
	}
	return tasks
}

// byID is coarse for results in any order.
func byID(tasks []backend.Task) []backend.Task {
	slices.SortFunc(coarse(tasks), func(a, b backend.Task) int { return strings.Compare(a.ID, b.ID) })
	return tasks
}

func (m *machine) all(s backend.Store) any {
	var all []backend.Task
	q := backend.TaskQuery{Limit: 1000}
	for {
		p, err := s.List(context.Background(), q)
		if err != nil {
			m.Fatal(err)
		}
		all = append(all, p.Tasks...)
		if q.Cursor = p.Cursor; q.Cursor == "" {
			return byID(all)
		}
	}
}

// some picks a task that usually exists.
func (m *machine) some(i int) backend.Task {
	all := m.all(m.a).([]backend.Task)
	if len(all) == 0 || i == 11 {
		return backend.Task{ID: "unknown"}
	}
	return all[i%len(all)]
}

func pick[T any](i int, from ...T) T { return from[i%len(from)] }

// delay returns zero, or a delay so long that nothing becomes due unless the clock is virtual.
func (m *machine) delay(i int) time.Duration {
	if m.o.Virtual {
		return pick(i, 0, 0, 0, 0, time.Second, 7*time.Second, 20*time.Second, time.Hour)
	}
	return pick(i, 0, 0, 0, time.Hour)
}

func doInsert(m *machine, op operation) {
	n := backend.NewTask{Delay: m.delay(op.C), Task: backend.Task{
		ID: fmt.Sprint("t", op.A%6), Queue: pick(op.B, "q", "q", "p"), Weight: op.B % 3,
		UniqueKey:   pick(op.D, "", "", "k", "l"),
		Fingerprint: pick(op.D+op.B, "", "", "f1", "f1", "f2"),
		Status:      pick(op.C, backend.StatusWaiting, backend.StatusPending),
		Payload:     pick(op.C, json.RawMessage(`1`), json.RawMessage(`{"n":1}`)),
	}}
	if op.A%6 == 5 {
		n.Task.Allow = []string{"10.0.0.0/8"}
	}
	if op.B > 5 {
		n.Task.Metadata, n.Task.Trace, n.Task.Retries = map[string]string{"k": fmt.Sprint(op.C)}, fmt.Sprint(op.D), new(op.C)
	}
	if m.o.Virtual && op.D > 8 {
		n.Task.Deadline = time.Now().Add(pick(op.A, time.Second, 10*time.Second, time.Hour)).UTC()
	}
	m.both(func(s backend.Store) any {
		tasks, err := s.Insert(context.Background(), []backend.NewTask{n})
		return outcome(err, coarse(tasks))
	})
}

// source picks the source of a batch, including subtasks.
func (op operation) source() string { return pick(op.A, "t0", "t1", "t2", "t0/a/0", "t0/done", "t5") }
func (op operation) batch() string  { return pick(op.B, "a", "a", "b") }

func doInsertSubtasks(m *machine, op operation) {
	var tasks []backend.NewTask
	for i := range 1 + op.C%3 {
		tasks = append(tasks, backend.NewTask{Gated: true, Delay: m.delay(op.D), Task: backend.Task{
			ID: fmt.Sprint(op.source(), "/", op.batch(), "/", i), Queue: pick(op.D, "q", "p"), Status: backend.StatusWaiting,
			Payload: json.RawMessage(`2`), Source: op.source(), Batch: op.batch(), Weight: op.C,
			OnFailure: pick(op.D, backend.IgnoreFailures, backend.FailFast, backend.CollectFailures),
		}})
	}
	m.both(func(s backend.Store) any {
		tasks, err := s.Insert(context.Background(), tasks)
		return outcome(err, coarse(tasks))
	})
	if op.C > 4 {
		doSpawn(m, op)
	}
}

func doSpawn(m *machine, op operation) {
	sp := backend.Spawn{Source: op.source(), Batch: op.batch(), Now: op.D%2 == 0,
		Count: pick(op.C, 0, 1, 2, 3, 1+op.C%3, 1+op.C%3)}
	if op.D > 8 {
		sp.Fence = 1
	}
	m.both(func(s backend.Store) any { return outcome(s.Spawn(context.Background(), sp)) })
}

func doDiscard(m *machine, op operation) {
	m.both(func(s backend.Store) any { return outcome(s.Discard(context.Background(), op.source(), op.batch())) })
}

func doOpen(m *machine, op operation) {
	m.both(func(s backend.Store) any {
		queues, err := s.Open(context.Background(), op.source())
		slices.Sort(queues)
		return outcome(err, queues)
	})
}

func doFinish(m *machine, op operation) {
	m.both(func(s backend.Store) any {
		finished, queue, err := s.Finish(context.Background(), op.source())
		return outcome(err, finished, queue)
	})
}

func (m *machine) claim(c backend.Claim, exact bool) {
	m.nonce++
	if c.Nonce == "" {
		c.Nonce = fmt.Sprint("fresh", m.nonce)
	}
	m.both(func(s backend.Store) any {
		tasks, next, err := s.Claim(context.Background(), c)
		if !exact {
			byID(tasks)
		}
		if !m.o.Virtual {
			next = 0
		}
		return outcome(err, coarse(tasks), next)
	})
}

// skip picks the versions whose tasks a claim skips: usually none.
func (op operation) skip() []backend.Version {
	return pick(op.B+op.C, nil, nil, nil, []backend.Version{{Fingerprint: "f1"}},
		[]backend.Version{{Fingerprint: "f2", Networks: backend.AllowedBy("10.1.2.3")},
			{Fingerprint: "f1", Networks: backend.AllowedBy("10.1.2.3")}})
}

func doMarkRetried(m *machine, op operation) {
	t := m.some(op.A)
	m.both(func(s backend.Store) any {
		by, err := s.MarkRetried(context.Background(), t.ID, pick(op.B, "", "", "x"), pick(op.C, "x", "y", ""))
		return outcome(err, by)
	})
}

func doClaim(m *machine, op operation) {
	queue := pick(op.A, "q", "p")
	m.claim(backend.Claim{
		// A nonce belongs to one queue's claims.
		Queue: queue, Owner: fmt.Sprint("o", op.B%5), Nonce: pick(op.C, "", "", "", "n"+queue),
		Max:   pick(op.D, 1, 2, 3, 10, 0),
		FanIn: op.A < 9, Networks: pick(op.B, nil, backend.AllowedBy("10.1.2.3")),
		Fingerprint: pick(op.D, "", "f1", "f2"), Skip: op.skip(),
		Suspects: pick(op.C, 1, 0), MaxCrashes: op.A % 3, Instance: fmt.Sprint("i", op.B%5), IP: "10.1.2.3",
	}, op.C%4 != 3 && m.o.Overtake == 0)
}

func doClaimIDs(m *machine, op operation) {
	a, b := m.some(op.A), m.some(op.B)
	m.claim(backend.Claim{Queue: a.Queue, Owner: fmt.Sprint("o", op.C%5), Max: 1 + op.D%3, IDs: []string{a.ID, b.ID},
		FanIn: true, Skip: op.skip(), Suspects: pick(op.A, 1, 0), MaxCrashes: 2}, true)
}

func doSettle(m *machine, op operation) {
	t := m.some(op.A)
	if op.A < 10 {
		running := slices.DeleteFunc(m.all(m.a).([]backend.Task),
			func(t backend.Task) bool { return t.Status != backend.StatusRunning })
		if len(running) > 0 {
			t = running[op.A%len(running)]
		}
	}
	e := backend.Settle{
		ID: t.ID, Fence: t.Fence - int64(op.C/11), Nonce: pick(op.B, "n",
			"m"), Delay: m.delay(op.D), Result: json.RawMessage(`3`),
		To: pick(op.B, backend.StatusSuccess, backend.StatusSuccess, backend.StatusFailed, backend.StatusStopped,
			backend.StatusRetrying, backend.StatusWaiting),
	}
	if op.C < 9 {
		e.Payload = pick(op.C, backend.PayloadUnknown, backend.PayloadWrongVersion, backend.PayloadDecoded)
	}
	e.Clear = op.C%2 == 0
	if op.C > 5 {
		e.Trace = fmt.Sprintf("00-%032x-%016x-01", op.B+1, op.C)
	}
	if op.D%2 == 0 && e.To != backend.StatusStopped {
		e.Error = &backend.TaskError{Code: pick(op.C, backend.ErrInternal, backend.ErrUnavailable), Message: "Why"}
		if op.C%3 == 0 {
			e.Error.Details = []backend.ErrorDetail{{Type: "t", Value: json.RawMessage(fmt.Sprint(op.C))}}
		}
	}
	m.both(func(s backend.Store) any {
		came, err := s.Settle(context.Background(), []backend.Settle{e})
		return outcome(err, came)
	})
}

func doProgress(m *machine, op operation) {
	t := m.some(op.A)
	m.both(func(s backend.Store) any {
		return outcome(s.Progress(context.Background(), t.ID, t.Fence-int64(op.B/9), json.RawMessage(fmt.Sprint(op.C))))
	})
}

func doBeat(m *machine, op operation) {
	m.both(func(s backend.Store) any {
		return outcome(s.Beat(context.Background(), fmt.Sprint("o", op.A%5), int64(op.B%4)))
	})
}

func doDrain(m *machine, op operation) {
	m.both(func(s backend.Store) any { return outcome(s.Drain(context.Background(), fmt.Sprint("o", op.A%5))) })
}

func doExpire(m *machine, op operation) {
	name := fmt.Sprint("o", op.A%5)
	beats, err := m.a.Owners(context.Background())
	if err != nil {
		m.Fatal(err)
	}
	if owned, _ := m.a.Owned(context.Background(), name); len(owned) > 0 && !m.o.Virtual {
		return // the delay of suspects depends on the clock
	}
	m.both(func(s backend.Store) any {
		tasks, err := s.ExpireOwner(context.Background(), name, beats[name].Count+int64(op.B/10), 1+op.C%3)
		return outcome(err, byID(tasks))
	})
}

func doRefund(m *machine, op operation) {
	m.both(func(s backend.Store) any { return outcome(s.Refund(context.Background(), fmt.Sprint("o", op.A%5))) })
}

func doPromote(m *machine, op operation) {
	queue, max := pick(op.A, "q", "p"), pick(op.B, 1, 2, 10, 0)
	m.both(func(s backend.Store) any {
		ids, failed, _, err := s.Promote(context.Background(), queue, max)
		return outcome(err, ids, byID(failed))
	})
}

func doStop(m *machine, op operation) {
	t := m.some(op.A)
	m.both(func(s backend.Store) any {
		tasks, err := s.Stop(context.Background(), backend.Stop{ID: t.ID, Reason: "r", Below: op.B%3 == 0})
		return outcome(err, byID(tasks))
	})
}

func doLook(m *machine, op operation) {
	m.both(func(s backend.Store) any {
		ctx := context.Background()
		beats, err := s.Owners(ctx)
		owners := countsOf(beats) // times differ
		owned, err2 := s.Owned(ctx, fmt.Sprint("o", op.A%5))
		age := time.Duration(0)
		if m.o.Virtual {
			age = pick(op.B, 0, time.Millisecond, 5*time.Second)
		}
		unfinished, err3 := s.Unfinished(ctx, age, 100)
		var tasks []backend.Task
		q := backend.TaskQuery{
			Queue: pick(op.C, "", "q", "p"), Source: pick(op.D, "", "", "t0"), Limit: 1000,
			Statuses: [][]backend.Status{nil, {backend.StatusWaiting, backend.StatusRunning}, {backend.StatusSuccess}}[op.B%3],
		}
		p, err4 := s.List(ctx, q)
		tasks = byID(p.Tasks)
		return []any{owners, owned, unfinished, tasks, p.Total, err == nil, err2 == nil, err3 == nil, err4 == nil}
	})
}

func doPurge(m *machine, op operation) {
	if !m.o.Virtual {
		return
	}
	m.both(func(s backend.Store) any {
		n, err := s.Purge(context.Background(),
			backend.Retention{Age: pick(op.A, time.Millisecond, 5*time.Second, 20*time.Second)}, 1000)
		return outcome(err, n)
	})
}

func doSleep(m *machine, op operation) {
	if m.o.Virtual {
		m.o.Sleep(pick(op.A, time.Second, 2*time.Second, 5*time.Second, 10*time.Second, 30*time.Second))
	}
}
