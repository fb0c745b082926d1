package conform

import (
	"fmt"

	"github.com/afgen/afgen/runtime/backend"
)

// testTrace returns a traceparent.
func testTrace(n int) string { return fmt.Sprintf("00-%032x-%016x-01", n, n) }

// wantTraces checks the traces of a task's attempts, as every method returns them that returns complete tasks.
func (w *world) wantTraces(id string, want ...string) {
	w.Helper()
	traces := func(t backend.Task) []string {
		got := []string{}
		for _, a := range t.Attempts {
			got = append(got, a.Trace)
		}
		return got
	}
	w.same("traces of "+id, traces(w.get(id)), want)
	for _, t := range w.list(backend.TaskQuery{}) {
		if t.ID == id {
			w.same("listed traces of "+id, traces(t), want)
		}
	}
}

func (w *world) settleTraced(t backend.Task, to backend.Status, trace string, want backend.Settled) {
	w.Helper()
	w.wantSettled(backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: to, Trace: trace}, want)
}

func eachEndKeepsTrace(w *world) {
	id, other := w.add(), w.add()
	want := []string{}
	for i, to := range []backend.Status{backend.StatusRetrying, backend.StatusWaiting, backend.StatusWaiting,
		backend.StatusSuccess} {
		t := w.take(id, "o")
		got := []string{}
		for _, a := range t.Attempts {
			got = append(got, a.Trace)
		}
		w.same("traces of a claimed task", got, want)
		trace := testTrace(i + 1)
		if i == 2 {
			trace = "" // this App has no instrument
		}
		w.settleTraced(t, to, trace, backend.SettledApplied)
		want = append(want, trace)
		w.wantTraces(id, want...)
	}
	a := w.take(other, "o")
	w.wantSettled(backend.Settle{ID: other, Fence: a.Fence, Nonce: "n", To: backend.StatusRetrying,
		Error: failed("why", 100), Trace: testTrace(9)}, backend.SettledApplied)
	b := w.get(other).Attempts[0]
	w.same("message and trace", []string{b.Message, b.Trace}, []string{"why", testTrace(9)})

	// Attempts that end at the same time have traces of their own.
	var settles []backend.Settle
	for i := range 3 {
		t := w.take(w.add(), "o")
		settles = append(settles, backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusSuccess,
			Trace: testTrace(20 + i)})
	}
	_, err := w.Store.Settle(w.ctx(), settles)
	w.must(err)
	for _, s := range settles {
		w.wantTraces(s.ID, s.Trace)
	}
}

func finalEndKeepsTrace(w *world) {
	for i, to := range []backend.Status{backend.StatusSuccess, backend.StatusFailed, backend.StatusStopped} {
		t := w.take(w.add(), "o")
		if to == backend.StatusStopped {
			w.stop(t.ID, false)
			w.settleTraced(t, backend.StatusSuccess, testTrace(50), backend.SettledStopping)
		}
		for range 2 { // the second one has no effect
			w.settleTraced(t, to, testTrace(i+1), backend.SettledApplied)
		}
		w.wantTraces(t.ID, testTrace(i+1))
	}
	source := w.add()
	t := w.take(source, "o")
	w.spawn(source, "b", true, 1)
	w.settleTraced(t, backend.StatusSuccess, testTrace(7), backend.SettledWithSubtasks)
	w.wantTraces(source, testTrace(7))
}

func lostHasNoTrace(w *world) {
	w.must(w.Store.Beat(w.ctx(), "lost", 1))
	id := w.add()
	w.settleTraced(w.take(id, "o"), backend.StatusRetrying, testTrace(1), backend.SettledApplied)
	t := w.take(id, "lost")
	w.expire("lost", 1, 3)
	w.settleTraced(t, backend.StatusSuccess, testTrace(2), backend.SettledLost)
	w.wantTraces(id, testTrace(1), "")
	tasks, _, err := w.Store.Claim(w.ctx(), backend.Claim{Queue: "q", Owner: "o", Nonce: w.next("n"), Max: 1, Suspects: 1})
	w.must(err)
	w.settleTraced(tasks[0], backend.StatusFailed, "", backend.SettledApplied)
	w.wantTraces(id, testTrace(1), "", "")
}
