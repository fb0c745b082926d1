package conform

import (
	"math"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Times and durations that no store can keep exactly.

var timeBehaviours = []behaviour{
	{"far_run_at", farRunAt},      // a due time beyond all instants is the last or the first one
	{"far_delay", farDelay},       // a delay beyond all instants ends at the last or the first one
	{"far_settle", farSettle},     // a task can wait again for any delay
	{"far_deadline", farDeadline}, // a deadline beyond all instants is in time or has passed
	{"far_query", farQuery},
}

// The first and the last instant: see backend.Task.
var (
	firstInstant = time.Unix(0, -1<<62).UTC()
	lastInstant  = time.Unix(0, 1<<62-1).UTC()
)

var (
	pasts = []time.Time{
		time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC),
		firstInstant.Add(-1), firstInstant,
	}
	futures = []time.Time{
		lastInstant, lastInstant.Add(1), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	}
	epoch = time.Unix(0, 0)
)

// wantLater checks that a claim takes nothing, and when it reports the next task to be due.
func (w *world) wantLater(what string) {
	w.Helper()
	tasks, next, err := w.Store.Claim(w.ctx(), backend.Claim{Queue: "q", Owner: "o", Nonce: w.next("nonce"), Max: 100})
	w.must(err)
	if len(tasks) > 0 || next < 24*time.Hour {
		w.Errorf("%s: claimed %v, and the next is due in %v", what, ids(tasks), next)
	}
	hinted, failed, next, err := w.Store.Promote(w.ctx(), "q", 100)
	w.must(err)
	if len(hinted)+len(failed) > 0 || next < 24*time.Hour {
		w.Errorf("%s: hinted %v, failed %v, and the next is due in %v", what, hinted, ids(failed), next)
	}
}

func farRunAt(w *world) {
	add := func(at, want time.Time) string {
		n := w.task()
		n.Task.RunAt = at
		t := w.insert(n)[0]
		w.same("the due time stored for "+at.String(), t.RunAt, want)
		w.same("the due time read for "+at.String(), w.get(t.ID).RunAt, want)
		return t.ID
	}
	for _, at := range futures {
		add(at, lastInstant)
	}
	w.wantLater("after " + lastInstant.String())
	early := []string{}
	for _, at := range pasts {
		early = append(early, add(at, firstInstant))
	}
	n := w.task()
	n.Task.RunAt = epoch
	early = append(early, w.insert(n)[0].ID)
	w.same("claimed", ids(w.claim("q", "o", 100)), early)
}

func farDelay(w *world) {
	late := w.add(delay(math.MaxInt64))
	w.same("the last due time", w.get(late).RunAt, lastInstant)
	w.add(delay(150 * 365 * 24 * time.Hour))
	w.wantLater("added")
	early := w.add(delay(math.MinInt64))
	w.same("the first due time", w.get(early).RunAt, firstInstant)
	w.same("claimed", ids(w.claim("q", "o", 100)), []string{early})
}

func farSettle(w *world) {
	for _, to := range []backend.Status{backend.StatusWaiting, backend.StatusRetrying} {
		w.add()
		for _, d := range []time.Duration{math.MinInt64, -time.Second, 0, math.MaxInt64} {
			t := w.claim("q", "o", 1)
			if len(t) != 1 {
				w.Fatalf("nothing to claim before a delay of %v", d)
			}
			w.wantSettled(backend.Settle{ID: t[0].ID, Fence: t[0].Fence, Nonce: w.next("n"), To: to, Delay: d},
				backend.SettledApplied)
		}
		w.wantLater(string(to))
	}
}

func farDeadline(w *world) {
	add := func(at time.Time) string {
		n := w.task()
		n.Task.Deadline = at
		return w.insert(n)[0].ID
	}
	var late, inTime []string
	for _, at := range append(pasts, epoch) {
		late = append(late, add(at))
	}
	for _, at := range futures {
		inTime = append(inTime, add(at))
	}
	w.same("claimed", ids(w.claim("q", "o", 100)), inTime)
	_, failed, _, err := w.Store.Promote(w.ctx(), "q", 100)
	w.must(err)
	w.same("how many failed", len(failed), len(late))
	w.wantStatus(backend.StatusFailed, late...)
	w.same("a deadline of 2200", w.get(inTime[2]).Deadline, lastInstant)
}

func farQuery(w *world) {
	one := w.add()
	for _, at := range append(pasts, epoch) {
		w.same("after "+at.String(), ids(w.list(backend.TaskQuery{After: at})), []string{one})
		w.same("before "+at.String(), ids(w.list(backend.TaskQuery{Before: at})), []string{})
	}
	for _, at := range futures {
		w.same("after "+at.String(), ids(w.list(backend.TaskQuery{After: at})), []string{})
		w.same("before "+at.String(), ids(w.list(backend.TaskQuery{Before: at})), []string{one})
	}
}
