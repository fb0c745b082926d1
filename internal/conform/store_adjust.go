package conform

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/afgen/afgen/runtime/backend"
)

var adjustBehaviours = []behaviour{
	{"every_situation", everyAdjustment}, // only what the contract allows, and nothing else is changed
	{"now", adjustNow},                   // a task that is not due becomes due
	{"now_owes_hint", adjustNowHint},     // Promote returns the task, and queues with it are promotable
	{"now_of_due_task", adjustDue},       // it changes nothing, not even its hint
	{"now_of_suspect", adjustSuspect},    // it is due, and still claimed alone
	{"now_of_wrong_version", adjustWrongVersion},
	{"now_of_gated_task", adjustGated}, // it is refused, but its weight may change
	{"weight", adjustWeight},           // of tasks that wait: they are claimed and hinted in the new order
	{"weight_while_running", adjustRunning},
	{"repeated", adjustRepeated},
	{"against_claim", adjustAgainstClaim}, // each task is claimed once
	{"against_settle", adjustAgainstSettle},
}

// everyAdjustment tries adjustments of tasks in every situation. It checks the error, and which fields have changed.
func everyAdjustment(w *world) {
	for _, s := range situations(w) {
		for name, a := range map[string]backend.Adjustment{
			"now": {Now: true}, "weight": {Weight: new(7)}, "both": {Now: true, Weight: new(7)}, "nothing": {},
		} {
			id := s.bring(w, w.next("queue"), w.next("owner"))
			before := w.get(id)
			a.ID = id
			got, err := w.Store.Adjust(w.ctx(), a)
			after := w.get(id)
			ignore := cmpopts.IgnoreFields(backend.Task{}, "ID")
			if s.status.Final() || a.Now && (s.status == backend.StatusRunning || slices.Contains(s.missing, backend.GateOpen)) {
				w.wantCode(err, backend.ErrFailedPrecondition)
			} else if err != nil {
				w.Errorf("%s, %s: %v", s.name, name, err)
			} else {
				w.same(s.name+", "+name+": returned", got, after.Head())
				if a.Weight != nil {
					before.Weight = 7
				}
				if a.Now && slices.Contains(s.missing, backend.Due) {
					ignore = cmpopts.IgnoreFields(backend.Task{}, "RunAt")
					if now := w.o.Now(); after.RunAt.After(now.Add(w.o.Tick)) || after.RunAt.Before(after.Created) {
						w.Errorf("%s, %s: due at %v, now it is %v", s.name, name, after.RunAt, now)
					}
				}
			}
			if d := cmp.Diff(before, after, ignore); d != "" {
				w.Errorf("%s, %s (-want +got):\n%s", s.name, name, d)
			}
		}
	}
	_, err := w.Store.Adjust(w.ctx(), backend.Adjustment{ID: "unknown", Now: true})
	w.wantCode(err, backend.ErrNotFound)
}

func (w *world) adjust(a backend.Adjustment) backend.Task {
	w.Helper()
	t, err := w.Store.Adjust(w.ctx(), a)
	w.must(err)
	return t
}

func adjustNow(w *world) {
	first, heavy := w.add(delay(time.Hour)), w.add(delay(time.Hour), weight(5))
	retries := w.take(w.add(), "o")
	w.wantSettled(backend.Settle{ID: retries.ID, Fence: retries.Fence, Nonce: "n", To: backend.StatusRetrying,
		Delay: time.Hour}, backend.SettledApplied)
	later := w.add(delay(2 * time.Hour))
	w.same("claimed", ids(w.claim("q", "o", 9)), []string{})
	for _, id := range []string{retries.ID, heavy, first} {
		w.adjust(backend.Adjustment{ID: id, Now: true})
	}
	w.o.Sleep(w.o.Tick)
	w.wantStatus(backend.StatusRetrying, retries.ID)
	claimed := w.claim("q", "o", 9)
	w.same("in the usual order", ids(claimed), []string{heavy, first, retries.ID})
	w.same("the next attempt", claimed[2].Attempt, 2)
	w.wantStatus(backend.StatusWaiting, later)
}

func adjustNowHint(w *world) {
	fresh := w.add(delay(time.Hour))
	id := w.add()
	w.same("hinted", w.promote("q", 9), []string{id})
	t := w.take(id, "o")
	w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying, Delay: time.Hour},
		backend.SettledApplied)
	w.same("not due", len(w.promote("q", 9)), 0)
	for _, id := range []string{id, fresh} {
		w.adjust(backend.Adjustment{ID: id, Now: true})
		w.o.Sleep(w.o.Tick)
		found, err := w.Store.Promotable(w.ctx(), []string{"q"}, 0)
		w.must(err)
		w.same("promotable", found, []string{"q"})
		w.same("hinted", w.promote("q", 9), []string{id})
		w.same("hinted once", len(w.promote("q", 9)), 0)
	}
}

func adjustDue(w *world) {
	id := w.add(w.runAt(-time.Hour))
	w.same("hinted", w.promote("q", 9), []string{id})
	before := w.get(id)
	w.adjust(backend.Adjustment{ID: id, Now: true})
	w.same("the task", w.get(id), before)
	w.adjust(backend.Adjustment{ID: id, Weight: new(3)})
	w.same("hinted again", len(w.promote("q", 9)), 0)
	w.same("claimed", ids(w.claim("q", "o", 9)), []string{id})
}

func adjustSuspect(w *world) {
	suspects := []string{w.suspect(), w.suspect()}
	for _, id := range suspects { // after the second loss they wait
		owner := w.next("lost")
		w.beat(owner)
		w.take(id, owner)
		w.lose(owner)
	}
	for _, id := range suspects {
		before := w.get(id)
		w.adjust(backend.Adjustment{ID: id, Now: true, Weight: new(2)})
		w.same("its losses", w.get(id).Suspect, before.Suspect)
	}
	w.o.Sleep(w.o.Tick)
	w.same("without suspects", w.claimSuspects(9, 0), []string{})
	w.same("one at a time", w.claimSuspects(9, 1), suspects[:1])
	w.same("the other", w.claimSuspects(9, 1), suspects[1:])
}

func adjustWrongVersion(w *world) {
	id := w.add(fingerprint("one"))
	t := w.take(id, "o")
	w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusWaiting, Delay: time.Hour,
		Error: failed("of another version", 100), Payload: backend.PayloadWrongVersion}, backend.SettledApplied)
	since := w.get(id).WrongVersionSince
	w.adjust(backend.Adjustment{ID: id, Now: true})
	w.o.Sleep(w.o.Tick)
	claimed := w.claim("q", "o", 9)
	w.same("claimed", ids(claimed), []string{id})
	w.same("since", claimed[0].WrongVersionSince, since)
}

func adjustGated(w *world) {
	source := w.add(in("sources"))
	light := w.spawn(source, "b", false, 2)[1]
	held := w.add(in("sub"), delay(time.Hour), id(backend.SubtaskID(source, "held", 0)), child(source, "held"))
	for _, id := range []string{light, held} {
		before := w.get(id)
		_, err := w.Store.Adjust(w.ctx(), backend.Adjustment{ID: id, Now: true, Weight: new(4)})
		w.wantCode(err, backend.ErrFailedPrecondition)
		w.same("the task", w.get(id), before)
		w.adjust(backend.Adjustment{ID: id, Weight: new(4)})
		before.Weight = 4
		w.same("its weight", w.get(id), before)
	}
	w.same("behind the gate", len(w.claim("sub", "o", 9)), 0)
	w.done(source, backend.StatusSuccess)
	w.open(source)
	w.same("in the new order", ids(w.claim("sub", "o", 9)), []string{light, backend.SubtaskID(source, "b", 0)})
}

func adjustWeight(w *world) {
	a, b, c := w.add(), w.add(), w.add(weight(2))
	later := w.add(delay(2 * w.o.Tick))
	w.same("returned", w.adjust(backend.Adjustment{ID: b, Weight: new(9)}).Weight, 9)
	w.adjust(backend.Adjustment{ID: c, Weight: new(-1)})
	w.adjust(backend.Adjustment{ID: later, Weight: new(20)})
	w.same("hinted", w.promote("q", 9), []string{b, a, c})
	w.adjust(backend.Adjustment{ID: c, Weight: new(0)})
	w.adjust(backend.Adjustment{ID: a, Weight: new(-2)})
	w.same("hinted again", len(w.promote("q", 9)), 0)
	w.o.Sleep(3 * w.o.Tick)
	w.wantAhead(a, 3)
	w.same("claimed", ids(w.claim("q", "o", 9)), []string{later, b, c, a})
}

func adjustRunning(w *world) {
	id, other := w.add(), w.add(weight(5))
	t := w.take(id, "o")
	w.adjust(backend.Adjustment{ID: id, Weight: new(9)})
	t.Weight = 9
	w.same("it runs on", w.get(id), t)
	w.settle(t, backend.StatusRetrying)
	w.same("the next attempt", ids(w.claim("q", "o", 9)), []string{id, other})
}

func adjustRepeated(w *world) {
	id := w.add(delay(time.Hour))
	a := backend.Adjustment{ID: id, Now: true, Weight: new(3)}
	w.adjust(a)
	w.o.Sleep(w.o.Tick)
	before := w.get(id)
	w.same("returned", w.adjust(a), before.Head())
	w.same("the task", w.get(id), before)
}

// adjustAgainstClaim moves tasks in the order of their queue, and makes them due, while others claim them.
func adjustAgainstClaim(w *world) {
	const tasks = 120
	var all []string
	for i := range tasks {
		if i%2 == 0 {
			all = append(all, w.add(delay(time.Hour)))
		} else {
			all = append(all, w.add())
		}
	}
	claims := map[string]int{}
	for _, got := range many(w, func(i int) []string {
		var mine []string
		for n := range tasks / 4 {
			id := all[(i*7+n*11)%tasks]
			_, err := w.Store.Adjust(w.ctx(), backend.Adjustment{ID: id, Now: n%2 == 0, Weight: new(n % 5)})
			if err != nil && backend.CodeOf(err) != backend.ErrFailedPrecondition {
				w.Error(err)
			}
			mine = append(mine, ids(w.claim("q", "o", 1))...)
		}
		return mine
	}) {
		for _, id := range got {
			claims[id]++
		}
	}
	for _, id := range all {
		if t := w.get(id); t.Status != backend.StatusRunning {
			w.adjust(backend.Adjustment{ID: id, Now: true})
		}
	}
	w.o.Sleep(w.o.Tick)
	for _, id := range ids(w.claim("q", "o", tasks)) {
		claims[id]++
	}
	for _, id := range all {
		if t := w.get(id); claims[id] != 1 || t.Fence != 1 || t.Status != backend.StatusRunning {
			w.Errorf("task %s was claimed %d times: %s, fence %d", id, claims[id], t.Status, t.Fence)
		}
	}
}

// adjustAgainstSettle adjusts running tasks while they end. A task that has ended never changes.
func adjustAgainstSettle(w *world) {
	for range 10 {
		t := w.take(w.add(), "o")
		ended := make(chan backend.Task, 1)
		go func() {
			w.settle(t, backend.StatusSuccess)
			ended <- w.get(t.ID)
		}()
		_, err := w.Store.Adjust(w.ctx(), backend.Adjustment{ID: t.ID, Weight: new(8)})
		if err != nil {
			w.wantCode(err, backend.ErrFailedPrecondition)
		}
		after := <-ended
		got := w.get(t.ID)
		if err == nil && got.Weight != 8 || err != nil && got.Weight != 1 || got.Status != backend.StatusSuccess {
			w.Errorf("weight %d, %s after %v", got.Weight, got.Status, err)
		}
		w.same("the ended task", got, after)
	}
}
