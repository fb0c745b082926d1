package conform

import (
	"fmt"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var suspectBehaviours = []behaviour{
	{"loss_makes_suspects", lossSuspects}, // the loss of an owner charges no task
	{"only_suspect_is_charged", onlySuspectCharged},
	{"several_not_charged", severalSuspects},
	{"own_max_crashes", ownMaxCrashes},
	{"cleared_by_running", suspectCleared}, // a suspect that ran for long enough is cleared
	{"later_claim_shows_cleared", clearedByClaim},
	{"silence_clears_none", notClearedBySilence}, // only time between heartbeats counts
	{"cleared_too_often", clearedTooOften},       // a cleared task is suspected again eventually
	{"stopping_is_charged", stoppingSuspect},     // of several suspects, the one that should stop
	{"waits_grow", suspectsWait},
	{"one_per_claim", claimSuspects},           // a claim takes at most one suspect
	{"block_none", claimAroundSuspects},        // suspects do not delay other tasks
	{"settle_clears_on_request", settleClears}, // it clears only on request
	{"refund", refund},                         // an owner that proves alive is refunded its losses
	{"refund_makes_claimable", refundWaiting},  // a task that waits as a suspect
	{"refund_leaves_final", refundFinal},
	{"refund_of_other_owner", refundOther}, // it changes nothing
}

// lose declares an owner dead.
func (w *world) lose(owner string) []backend.Task {
	w.Helper()
	return w.expire(owner, w.owners()[owner], 3)
}

// beat sends a heartbeat of an owner.
func (w *world) beat(owner string) {
	w.Helper()
	w.must(w.Store.Beat(w.ctx(), owner, w.owners()[owner]+1))
}

// suspect makes a task suspected and due, in an otherwise empty queue.
func (w *world) suspect(with ...func(*backend.NewTask)) string {
	w.Helper()
	id, owner := w.add(with...), w.next("lost")
	w.beat(owner)
	w.take(id, owner)
	w.lose(owner)
	w.due(id)
	return id
}

// due waits until tasks are due.
func (w *world) due(ids ...string) {
	w.Helper()
	for _, id := range ids {
		if d := w.get(id).RunAt.Sub(w.o.Now()); d > -w.o.Tick {
			w.o.Sleep(max(d, 0) + w.o.Tick)
		}
	}
}

// wantSuspect checks a task's state as a suspect. For depends on the clock, so only its presence is checked.
func (w *world) wantSuspect(id string, crashes int, want *backend.Suspect) {
	w.Helper()
	t := w.get(id)
	if s := t.Suspect; s != nil {
		if s.For < 200*time.Millisecond {
			w.Errorf("task %s is suspected for %v", id, s.For)
		}
		copied := *s
		copied.For = 0
		t.Suspect = &copied
	}
	w.same("suspect "+id, t.Suspect, want)
	w.same("crashes of "+id, t.Crashes, crashes)
}

func (w *world) claimSuspects(max, suspects int, only ...string) []string {
	w.Helper()
	tasks, _, err := w.Store.Claim(w.ctx(), backend.Claim{
		Queue: "q", Owner: "o", Nonce: w.next("nonce"), Max: max, IDs: only, Suspects: suspects,
	})
	w.must(err)
	return ids(tasks)
}

func lossSuspects(w *world) {
	w.beat("o")
	a, b := w.take(w.add(), "o"), w.take(w.add(), "o")
	w.lose("o")
	for _, id := range []string{a.ID, b.ID} {
		w.wantSuspect(id, 0, &backend.Suspect{Losses: 1, Owner: "o"})
		w.wantStatus(backend.StatusWaiting, id)
		w.same("attempt", w.get(id).Attempt, 0)
	}
	w.same("repeated", len(w.expire("o", 1, 3)), 0)
	w.wantSuspect(a.ID, 0, &backend.Suspect{Losses: 1, Owner: "o"})
}

func onlySuspectCharged(w *world) {
	a := w.suspect()
	b := w.add()
	w.beat("o")
	w.take(a, "o")
	w.take(b, "o")
	w.lose("o")
	w.wantSuspect(a, 1, &backend.Suspect{Losses: 2, Owner: "o", Charged: true})
	w.wantSuspect(b, 0, &backend.Suspect{Losses: 1, Owner: "o"})
}

func severalSuspects(w *world) {
	a, b := w.suspect(), w.suspect()
	w.beat("o")
	w.take(a, "o")
	w.take(b, "o")
	w.lose("o")
	for _, id := range []string{a, b} {
		w.wantSuspect(id, 0, &backend.Suspect{Losses: 2, Owner: "o"})
	}
}

func ownMaxCrashes(w *world) {
	a := w.suspect()
	w.beat("o")
	_, _, err := w.Store.Claim(w.ctx(), backend.Claim{
		Queue: "q", Owner: "o", Nonce: "n", Max: 1, IDs: []string{a}, Suspects: 1, MaxCrashes: 1,
	})
	w.must(err)
	w.same("while it runs", w.get(a).MaxCrashes, 1)
	w.lose("o")
	w.wantStatus(backend.StatusFailed, a)
	w.wantSuspect(a, 1, &backend.Suspect{Losses: 2, Owner: "o", Charged: true})
}

func suspectCleared(w *world) {
	a, b := w.suspect(), w.suspect()
	test := w.get(a).Suspect.Test()
	w.beat("o")
	w.take(a, "o")
	w.o.Sleep(test + w.o.Tick)
	w.beat("o")
	w.take(b, "o")
	before := w.get(a)
	w.lose("o")
	w.wantSuspect(a, 0, &backend.Suspect{Losses: 1, Cleared: 1, Owner: before.Suspect.Owner})
	w.wantSuspect(b, 1, &backend.Suspect{Losses: 2, Owner: "o", Charged: true})
	w.same("it doesn't wait", w.get(a).RunAt, before.RunAt)
	tasks, _, err := w.Store.Claim(w.ctx(), backend.Claim{Queue: "q", Owner: "other", Nonce: "n", Max: 9})
	w.must(err)
	w.same("claimed like any", ids(tasks), []string{a})
}

func clearedByClaim(w *world) {
	a, b := w.suspect(), w.suspect()
	w.beat("o")
	w.take(a, "o")
	w.o.Sleep(w.get(a).Suspect.Test() + w.o.Tick)
	w.take(b, "o") // no heartbeat, but a claiming owner is alive
	w.lose("o")
	w.same("crashes", []int{w.get(a).Crashes, w.get(b).Crashes}, []int{0, 1})
}

func notClearedBySilence(w *world) {
	a := w.suspect()
	w.beat("o")
	w.take(a, "o")
	w.o.Sleep(w.get(a).Suspect.Test() + w.o.Tick)
	w.lose("o")
	w.wantSuspect(a, 1, &backend.Suspect{Losses: 2, Owner: "o", Charged: true})
}

func clearedTooOften(w *world) {
	a := w.suspect()
	for n := range 4 {
		owner, b := w.next("o"), w.suspect()
		w.beat(owner)
		w.take(a, owner)
		w.o.Sleep(w.get(a).Suspect.Test() + w.o.Tick)
		w.take(b, owner)
		w.lose(owner)
		w.same("crashes", []int{w.get(a).Crashes, w.get(b).Crashes}, []int{0, 1})
		after := w.get(a)
		w.same("suspected", after.Suspected(), n == 3)
		w.stop(b, false)
	}
}

func stoppingSuspect(w *world) {
	a, b := w.suspect(), w.add()
	w.beat("o")
	w.take(a, "o")
	w.take(b, "o")
	w.stop(a, false)
	w.lose("o")
	w.wantStatus(backend.StatusStopped, a)
	w.wantSuspect(b, 0, &backend.Suspect{Losses: 1, Owner: "o"})
}

func suspectsWait(w *world) {
	a := w.add()
	for n := range 4 {
		owner := fmt.Sprint("o", n)
		w.beat(owner)
		w.take(a, owner)
		before := w.o.Now()
		w.expire(owner, 1, 100)
		if n == 0 { // it doesn't wait after the first loss
			continue
		}
		w.same("at once", w.claimSuspects(1, 1), []string{})
		wait := time.Second << (n - 1)
		if got := w.get(a).RunAt.Sub(before); got < wait-w.o.Tick || got > wait+time.Second/2 {
			w.Errorf("after loss %d it waits for %v", n+1, got)
		}
		w.due(a)
	}
}

func claimSuspects(w *world) {
	a, b := w.suspect(), w.suspect()
	c := w.add()
	w.same("none of the named", w.claimSuspects(9, 0, a, b), []string{})
	w.same("one of the named", w.claimSuspects(9, 1, a, b), []string{a})
	w.same("none of all", w.claimSuspects(1, 0), []string{c})
	w.same("none of the rest", w.claimSuspects(1, 0), []string{})
	w.same("one of the rest", w.claimSuspects(9, 1), []string{b})
	d, e := w.suspect(weight(5)), w.suspect(weight(9))
	f := w.add(weight(7))
	claim := backend.Claim{Queue: "q", Owner: "o", Nonce: "again", Max: 9, IDs: []string{d, e, f}, Suspects: 1}
	for range 2 {
		tasks, _, err := w.Store.Claim(w.ctx(), claim)
		w.must(err)
		w.same("the heaviest of the named, also if repeated", ids(tasks), []string{e, f})
	}
	w.same("claimed", w.claimSuspects(9, 1), []string{d})
}

func claimAroundSuspects(w *world) {
	w.beat("lost")
	for range 30 {
		w.take(w.add(weight(9)), "lost")
	}
	var suspects, others []string
	for _, t := range w.lose("lost") {
		suspects = append(suspects, t.ID)
	}
	w.due(suspects...)
	for i := range 6 {
		others = append(others, w.add(weight(8-i)))
	}
	w.same("with none", w.claimSuspects(3, 0), others[:3])
	got := w.claimSuspects(3, 1)
	if len(got) != 3 || w.get(got[0]).Weight != 9 {
		w.Fatalf("claimed %v", got)
	}
	w.same("with one", got[1:], others[3:5])
	w.same("by ids", w.claimSuspects(99, 0, append(suspects, others...)...), others[5:])
}

func settleClears(w *world) {
	for _, clears := range []bool{false, true} {
		for _, to := range []backend.Status{backend.StatusWaiting, backend.StatusRetrying,
			backend.StatusFailed, backend.StatusSuccess} {
			t := w.take(w.suspect(in(string(to))), "o")
			w.wantSettled(backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: to, Clear: clears}, backend.SettledApplied)
			if got := w.get(t.ID); got.Status != to || (got.Suspect == nil) != clears {
				w.Errorf("%s, clear %v: it is %s, %+v", to, clears, got.Status, got.Suspect)
			}
			if clears && !to.Final() {
				tasks, _, err := w.Store.Claim(w.ctx(),
					backend.Claim{Queue: string(to), Owner: "o", Nonce: w.next("nonce"), Max: 1})
				w.must(err)
				w.same("claimed like any", ids(tasks), []string{t.ID})
			}
		}
	}
}

func refund(w *world) {
	a, b := w.suspect(), w.add()
	before := w.get(a)
	w.beat("o")
	w.take(a, "o")
	w.take(b, "o")
	w.lose("o")
	w.wantSuspect(a, 1, &backend.Suspect{Losses: 2, Owner: "o", Charged: true})
	w.due(a, b)
	running := w.take(a, "other")
	for range 2 { // it may be repeated
		w.must(w.Store.Refund(w.ctx(), "o"))
		w.wantSuspect(a, 0, &backend.Suspect{Losses: before.Suspect.Losses})
		w.wantSuspect(b, 0, nil)
	}
	w.same("it runs on", w.get(a).Fence, running.Fence)
}

func refundWaiting(w *world) {
	a := w.suspect()
	w.same("as a suspect", w.claimSuspects(9, 0), []string{})
	w.must(w.Store.Refund(w.ctx(), w.get(a).Suspect.Owner))
	w.same("refunded", w.claimSuspects(9, 0), []string{a})
}

func refundFinal(w *world) {
	a := w.suspect()
	w.beat("o")
	w.take(a, "o")
	w.expire("o", 1, 1)
	w.wantStatus(backend.StatusFailed, a)
	before := w.get(a)
	w.must(w.Store.Refund(w.ctx(), "o"))
	w.same("the failed task", w.get(a), before)
}

func refundOther(w *world) {
	a := w.suspect()
	before := w.get(a)
	w.must(w.Store.Refund(w.ctx(), "unknown"))
	w.beat("o")
	w.take(a, "o")
	w.must(w.Store.Refund(w.ctx(), before.Suspect.Owner+"x"))
	w.must(w.Store.Refund(w.ctx(), "o")) // it was not declared dead
	w.same("its suspect state", w.get(a).Suspect, before.Suspect)
}
