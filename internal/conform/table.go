package conform

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/afgen/afgen/runtime/backend"
)

// A situation is a task in a status, and the guards that do not hold for it.
type situation struct {
	name    string
	status  backend.Status
	missing []backend.Guard
	bring   func(w *world, queue, owner string) string
}

// An attempt is one call of a method that might move a task. It has its rows of the state table in order of
// precedence, and the guards that its arguments don't meet.
type attempt struct {
	name    string
	steps   []step
	missing []backend.Guard
	try     func(w *world, t backend.Task, queue, owner string)
}

type step struct {
	row int
	to  backend.Status
}

// everyPair brings tasks into every situation, tries every method on them, and compares the result with the state
// table. The result is the status of a row if all its guards hold, and otherwise no change.
func everyPair(w *world) {
	seen := map[[2]backend.Status]bool{}
	for _, s := range situations(w) {
		for _, a := range attempts() {
			queue, owner := w.next("queue"), w.next("owner")
			id := s.bring(w, queue, owner)
			before := w.get(id)
			if before.Status != s.status {
				w.Fatalf("%s: brought to %s", s.name, before.Status)
			}
			a.try(w, before, queue, owner)
			after := w.get(id)
			want := leads(s, a)
			if after.Status != want {
				w.Errorf("%s, %s: %s, want %s", s.name, a.name, after.Status, want)
			}
			if before.Status != after.Status {
				seen[[2]backend.Status{before.Status, after.Status}] = true
			}
			if _, moved := allowed(s, a); !moved {
				if a.name == "stop" && before.Status == backend.StatusRunning {
					before.Stopping = true
				}
				if d := cmp.Diff(before, after, cmpopts.IgnoreFields(backend.Task{}, "Progress", "Progressed")); d != "" {
					w.Errorf("%s, %s: refused, and yet it changed something (-before +after):\n%s", s.name, a.name, d)
				}
			}
		}
	}
	for _, from := range backend.Statuses() {
		for _, to := range backend.Statuses() {
			if from != to && seen[[2]backend.Status{from, to}] != backend.Allowed(from, to) {
				w.Errorf("%s to %s: allowed is %v, and was seen %v", from, to, backend.Allowed(from, to),
					seen[[2]backend.Status{from, to}])
			}
		}
	}
}

// allowed finds the step that the state table allows.
func allowed(s situation, a attempt) (step, bool) {
	for _, st := range a.steps {
		for _, t := range backend.Transitions() {
			if t.Row != st.row || !slices.Contains(t.From, s.status) || !slices.Contains(t.To, st.to) {
				continue
			}
			unmet := func(g backend.Guard) bool { return slices.Contains(s.missing, g) || slices.Contains(a.missing, g) }
			if !slices.ContainsFunc(t.Guards, unmet) {
				return st, true
			}
		}
	}
	return step{}, false
}

func leads(s situation, a attempt) backend.Status {
	if st, ok := allowed(s, a); ok {
		return st.to
	}
	return s.status
}

func situations(w *world) []situation {
	const (
		waiting, pending, running = backend.StatusWaiting, backend.StatusPending, backend.StatusRunning
		retrying                  = backend.StatusRetrying
	)
	fine := []backend.Guard{backend.PastDeadline, backend.Stopping, backend.Poison}
	but := func(g ...backend.Guard) []backend.Guard { return append(g, fine...) }
	late := []backend.Guard{backend.InTime, backend.Stopping, backend.Poison}
	plain := func(with ...func(*backend.NewTask)) func(w *world, q, o string) string {
		return func(w *world, q, _ string) string { return w.add(append(with, in(q))...) }
	}
	run := func(after func(w *world, t backend.Task)) func(w *world, q, o string) string {
		return func(w *world, q, o string) string {
			w.must(w.Store.Beat(w.ctx(), o, 1))
			id := w.add(in(q))
			after(w, w.take(id, o))
			return id
		}
	}
	retry := func(d time.Duration) func(w *world, t backend.Task) {
		return func(w *world, t backend.Task) {
			w.wantSettled(backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: retrying, Delay: d}, backend.SettledApplied)
		}
	}
	end := func(to backend.Status) func(w *world, q, o string) string {
		return run(func(w *world, t backend.Task) { w.settle(t, to) })
	}
	overdue := func(first func(w *world, q, o string) string) func(w *world, q, o string) string {
		return func(w *world, q, o string) string {
			id := first(w, q, o)
			w.o.Sleep(3 * w.o.Tick)
			return id
		}
	}
	soon := func(n *backend.NewTask) { w.deadline(2 * w.o.Tick)(n) }
	return []situation{
		{"waiting", waiting, fine, plain()},
		{"pending", pending, fine, plain(status(pending))},
		{"not due", waiting, but(backend.Due), plain(delay(time.Hour))},
		{"behind a gate", waiting, but(backend.GateOpen), func(w *world, q, _ string) string {
			return w.add(in(q), child(w.add(in(q+"/sources")), "b"))
		}},
		{"past its deadline", waiting, late, overdue(plain(soon))},
		{"pending past its deadline", pending, late, overdue(plain(soon, status(pending)))},
		{"hinted just now", pending, but(backend.HintOwed), func(w *world, q, _ string) string {
			id := w.add(in(q))
			_, _, _, err := w.Store.Promote(w.ctx(), q, 10)
			w.must(err)
			return id
		}},
		{"retrying", retrying, fine, run(retry(0))},
		{"retrying, not due", retrying, but(backend.Due), run(retry(time.Hour))},
		{"retrying past its deadline", retrying, late, overdue(func(w *world, q, o string) string {
			id := w.add(in(q), soon)
			retry(0)(w, w.take(id, o))
			return id
		})},
		{"running", running, fine, run(func(*world, backend.Task) {})},
		{"running as a suspect", running, []backend.Guard{backend.PastDeadline, backend.Stopping},
			func(w *world, q, o string) string {
				id := w.suspect(in(q))
				w.must(w.Store.Beat(w.ctx(), o, 1))
				w.take(id, o)
				return id
			}},
		{"running, to stop", running, []backend.Guard{backend.PastDeadline, backend.NotStopping, backend.Poison},
			run(func(w *world, t backend.Task) {
				_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: t.ID, Reason: "r"})
				w.must(err)
			})},
		{"succeeded", backend.StatusSuccess, fine, end(backend.StatusSuccess)},
		{"failed", backend.StatusFailed, fine, end(backend.StatusFailed)},
		{"stopped", backend.StatusStopped, fine, run(func(w *world, t backend.Task) {
			_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: t.ID, Reason: "r"})
			w.must(err)
			w.settle(t, backend.StatusStopped)
		})},
	}
}

func attempts() []attempt {
	const waiting, failed, stopped = backend.StatusWaiting, backend.StatusFailed, backend.StatusStopped
	out := []attempt{
		{"insert", nil, nil, func(w *world, t backend.Task, q, _ string) {
			w.insert(w.task(in(q), id(t.ID), weight(9), child2(t)))
		}},
		{"claim", []step{{2, backend.StatusRunning}}, nil, func(w *world, _ backend.Task, q, o string) {
			w.claim(q, o, 10)
		}},
		{"claim by id", []step{{2, backend.StatusRunning}}, nil, func(w *world, t backend.Task, q, o string) {
			_, _, err := w.Store.Claim(w.ctx(), backend.Claim{Queue: q, Owner: o, Nonce: "again", Max: 10, IDs: []string{t.ID}})
			w.must(err)
		}},
		{"claim by id from another queue", nil, nil, func(w *world, t backend.Task, _, o string) {
			_, _, err := w.Store.Claim(w.ctx(),
				backend.Claim{Queue: "other", Owner: o, Nonce: "other", Max: 10, IDs: []string{t.ID}})
			w.must(err)
		}},
		{"expire", []step{{10, stopped}, {7, failed}, {7, waiting}}, []backend.Guard{backend.Poison}, expire(1, 100)},
		{"expire after too many crashes", []step{{10, stopped}, {7, failed}, {7, waiting}}, nil, expire(1, 1)},
		{"expire by another count", nil, nil, expire(2, 1)},
		{"promote", []step{{11, failed}, {8, backend.StatusPending}, {8, backend.StatusRetrying}}, nil, promote(10)},
		{"promote none", []step{{11, failed}}, nil, promote(0)},
		{"stop", []step{{9, stopped}}, nil, func(w *world, t backend.Task, _, _ string) {
			_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: t.ID, Reason: "r"})
			w.must(err)
		}},
		{"stop below", nil, nil, func(w *world, t backend.Task, _, _ string) {
			_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: t.ID, Reason: "r", Below: true})
			w.must(err)
		}},
		{"progress by another fence", nil, nil, func(w *world, t backend.Task, _, _ string) {
			w.wantCode(w.Store.Progress(w.ctx(), t.ID, t.Fence+1, []byte(`1`)), backend.ErrAborted)
		}},
		{"open, finish, discard", nil, nil, func(w *world, t backend.Task, _, _ string) {
			_, err := w.Store.Open(w.ctx(), t.ID)
			w.must(err)
			_, _, err = w.Store.Finish(w.ctx(), t.ID)
			w.must(err)
			w.must(w.Store.Discard(w.ctx(), t.ID, "b"))
		}},
	}
	rows := map[backend.Status]int{
		backend.StatusSuccess: 3, backend.StatusRetrying: 4, failed: 5, waiting: 6, stopped: 10,
	}
	for to, row := range rows {
		for by, missing := range map[int64][]backend.Guard{0: nil, -1: {backend.SameFence}, 1: {backend.SameFence}} {
			name := map[int64]string{0: "", -1: " with an old fence", 1: " with a fence to come"}[by]
			out = append(out, attempt{"settle as " + string(to) + name, []step{{row, to}}, missing, settleAs(to, by)})
		}
	}
	return out
}

func child2(t backend.Task) func(*backend.NewTask) {
	return func(n *backend.NewTask) {
		n.Gated, n.Task.Source, n.Task.Batch = t.Source != "", t.Source, t.Batch
	}
}

func expire(count int64, maxCrashes int) func(*world, backend.Task, string, string) {
	return func(w *world, _ backend.Task, _, owner string) {
		_, err := w.Store.ExpireOwner(w.ctx(), owner, count, maxCrashes)
		w.must(err)
	}
}

func promote(max int) func(*world, backend.Task, string, string) {
	return func(w *world, _ backend.Task, queue, _ string) {
		_, _, _, err := w.Store.Promote(w.ctx(), queue, max)
		w.must(err)
	}
}

func settleAs(to backend.Status, by int64) func(*world, backend.Task, string, string) {
	return func(w *world, t backend.Task, _, _ string) {
		_, err := w.Store.Settle(w.ctx(), []backend.Settle{{ID: t.ID, Fence: t.Fence + by, Nonce: w.next("x"), To: to}})
		w.must(err)
	}
}
