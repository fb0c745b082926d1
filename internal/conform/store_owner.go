package conform

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var ownerBehaviours = []behaviour{
	{"late_claim_of_unchecked_owner", lateClaim},
	{"counters_only_rise", counters},
	{"beat_saves_owner", beatSaves},
	{"expiry_ends_claims", expiry},             // a dead owner is remembered
	{"one_of_many_detectors", detectorsAtOnce}, // of many failure detectors, one declares an owner dead
	{"beat_against_expiry", beatAgainstExpiry}, // one of the two wins
	{"crash_not_charged", crashes},             // the attempt that ends in a crash does not count
	{"drain_not_charged", drainCharges},        // tasks of a draining owner are not charged
	{"poison_fails", poison},                   // a task that kills its owners fails in the end
	{"expiry_stops", expireStopping},           // tasks asked to stop are stopped when their owner is declared dead
	{"owned", ownedLists},                      // a list has the tasks of an owner, and those that should stop
}

func (w *world) expire(owner string, count int64, maxCrashes int) []backend.Task {
	w.Helper()
	tasks, err := w.Store.ExpireOwner(w.ctx(), owner, count, maxCrashes)
	w.must(err)
	return tasks
}

func (w *world) owners() map[string]int64 {
	w.Helper()
	beats, err := w.Store.Owners(w.ctx())
	w.must(err)
	return countsOf(beats)
}

// countsOf returns the counters of heartbeats.
func countsOf(beats map[string]backend.Heartbeat) map[string]int64 {
	counts := make(map[string]int64, len(beats))
	for name, b := range beats {
		counts[name] = b.Count
	}
	return counts
}

// lateClaim claims for an owner that was declared dead, and that checks itself whether it was. The store refuses, or its
// next sweep finds the claims, releases them and charges nothing.
func lateClaim(w *world) {
	w.must(w.Store.Beat(w.ctx(), "late", 4))
	w.expire("late", 4, 3)
	for _, count := range []int{1, 2} { // stores may claim one task in another way than several
		var named []string
		for range count {
			named = append(named, w.add())
		}
		claimed, _, err := w.Store.Claim(w.ctx(), backend.Claim{
			Queue: "q", Owner: "late", Nonce: w.next("nonce"), Max: count, IDs: named, OwnerChecked: true,
		})
		if err != nil {
			w.wantCode(err, backend.ErrAborted)
		} else if len(claimed) != count {
			w.Errorf("claimed %v, want %v", ids(claimed), named)
		}
		unfinished, err := w.Store.Unfinished(w.ctx(), 0, 10)
		w.must(err)
		want := []backend.Unfinished{{What: backend.UnfinishedClaims, Owner: "late", Count: 4}}
		if len(claimed) == 0 {
			want = nil
		}
		if !slices.Equal(unfinished, want) {
			w.Errorf("unfinished %+v, want %+v", unfinished, want)
		}
		w.expire("late", 4, 3)
		for _, id := range named {
			if t := w.get(id); t.Status.Final() || t.Status == backend.StatusRunning || t.Crashes != 0 || t.Attempt != 0 {
				w.Errorf("after the sweep: %+v", t)
			}
		}
	}
}

func counters(w *world) {
	w.must(w.Store.Beat(w.ctx(), "a", 3))
	w.must(w.Store.Beat(w.ctx(), "b", 1))
	w.must(w.Store.Beat(w.ctx(), "a", 2)) // late
	w.same("owners", w.owners(), map[string]int64{"a": 3, "b": 1})
	beats, err := w.Store.Owners(w.ctx())
	w.must(err)
	now, err := w.Store.Now(w.ctx())
	w.must(err)
	for name, beat := range beats {
		if age := now.Sub(beat.At); age < -time.Second || age > 30*time.Second {
			w.Errorf("the last heartbeat of %s was at %v, %v ago", name, beat.At, age)
		}
	}
}

func beatSaves(w *world) {
	w.must(w.Store.Beat(w.ctx(), "o", 1))
	t := w.take(w.add(), "o")
	w.must(w.Store.Beat(w.ctx(), "o", 2))
	w.same("expired", len(w.expire("o", 1, 3)), 0)
	w.same("an unknown owner", len(w.expire("unknown", 0, 3)), 0)
	w.same("the task", w.get(t.ID), t)
	w.must(w.Store.Beat(w.ctx(), "o", 3))
	w.same("owners", w.owners(), map[string]int64{"o": 3})
}

func expiry(w *world) {
	w.must(w.Store.Beat(w.ctx(), "o", 5))
	w.must(w.Store.Beat(w.ctx(), "other", 1))
	lost, kept := w.take(w.add(), "o"), w.take(w.add(), "other")
	tasks := w.expire("o", 5, 3)
	want := lost
	after := w.get(lost.ID)
	w.attempted(&want, after, backend.AttemptLost, nil)
	want.Status, want.Attempt = backend.StatusWaiting, 0
	want.Suspect, want.RunAt = after.Suspect, after.RunAt // see the tests of suspects
	w.same("returned", tasks, []backend.Task{want.Head()})
	w.same("stored", w.get(lost.ID), want)
	w.same("another's", w.get(kept.ID), kept)
	w.same("repeated", len(w.expire("o", 5, 3)), 0)
	w.same("owners", w.owners(), map[string]int64{"other": 1})

	w.wantCode(w.Store.Beat(w.ctx(), "o", 6), backend.ErrAborted)
	_, _, err := w.Store.Claim(w.ctx(), backend.Claim{Queue: "q", Owner: "o", Nonce: w.next("n"), Max: 1})
	w.wantCode(err, backend.ErrAborted)
	w.wantSettled(backend.Settle{ID: lost.ID, Fence: lost.Fence, Nonce: "n", To: backend.StatusSuccess},
		backend.SettledLost)
	w.wantCode(w.Store.Progress(w.ctx(), lost.ID, lost.Fence, []byte(`1`)), backend.ErrAborted)
	w.same("after all that", w.get(lost.ID), want)
	w.due(lost.ID)
	w.same("the next fence", w.take(lost.ID, "other").Fence, lost.Fence+1)
}

func detectorsAtOnce(w *world) {
	for i := range 5 {
		owner := fmt.Sprint("o", i)
		w.must(w.Store.Beat(w.ctx(), owner, 1))
		for range 10 {
			w.take(w.add(), owner)
		}
		returned := map[string]int{}
		for _, tasks := range many(w, func(int) []backend.Task { return w.expire(owner, 1, 100) }) {
			for _, t := range tasks {
				returned[t.ID]++
			}
		}
		if len(returned) != 10 {
			w.Errorf("%d tasks came back", len(returned))
		}
		for id := range returned {
			w.same("losses", w.get(id).Suspect.Losses, 1)
		}
	}
}

func beatAgainstExpiry(w *world) {
	for i := range 20 {
		owner := fmt.Sprint("o", i)
		w.must(w.Store.Beat(w.ctx(), owner, 1))
		t := w.take(w.add(), owner)
		refused := make(chan error, 1)
		go func() { refused <- w.Store.Beat(w.ctx(), owner, 2) }()
		w.expire(owner, 1, 100)
		if err := <-refused; err == nil {
			w.same("saved", w.get(t.ID).Status, backend.StatusRunning)
		} else {
			w.wantCode(err, backend.ErrAborted)
			w.same("expired", w.get(t.ID).Status, backend.StatusWaiting)
		}
	}
}

func crashes(w *world) {
	id := w.add()
	t := w.take(id, "first")
	w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying}, backend.SettledApplied)
	w.must(w.Store.Beat(w.ctx(), "second", 1))
	t = w.take(id, "second")
	w.expire("second", 1, 3)
	w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying}, backend.SettledLost)
	got := w.get(id)
	if got.Attempt != 1 || got.Crashes != 0 || got.Fence != 2 || got.Status != backend.StatusWaiting {
		w.Errorf("attempt %d, crashes %d, fence %d, %s", got.Attempt, got.Crashes, got.Fence, got.Status)
	}
	w.due(id)
	w.same("claimable again", w.take(id, "third").Attempt, 2)
}

func drainCharges(w *world) {
	w.must(w.Store.Drain(w.ctx(), "unknown"))
	w.must(w.Store.Beat(w.ctx(), "o", 1))
	w.must(w.Store.Beat(w.ctx(), "other", 1))
	lost, stopping, kept := w.take(w.add(), "o"), w.take(w.add(), "o"), w.take(w.add(), "other")
	_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: stopping.ID, Reason: "enough"})
	w.must(err)
	w.must(w.Store.Drain(w.ctx(), "o"))
	w.must(w.Store.Drain(w.ctx(), "o"))
	w.must(w.Store.Beat(w.ctx(), "o", 2)) // it keeps beating
	w.same("expired too early", len(w.expire("o", 1, 1)), 0)
	w.same("ended", len(w.expire("o", 2, 1)), 2)
	want := lost
	w.attempted(&want, w.get(lost.ID), backend.AttemptLost, nil)
	want.Status, want.Attempt = backend.StatusWaiting, 0
	w.same("lost", w.get(lost.ID), want)
	w.same("stopping", w.get(stopping.ID).Status, backend.StatusStopped)
	w.wantCode(w.Store.Drain(w.ctx(), "o"), backend.ErrAborted)
	w.same("the next attempt", w.take(lost.ID, "other").Attempt, 1)
	w.expire("other", 1, 3)
	got := w.get(kept.ID)
	w.same("another's is a suspect", got.Suspected(), true)
}

func poison(w *world) {
	id := w.add(unique("k"))
	for i := range 4 {
		owner := fmt.Sprint("o", i)
		w.must(w.Store.Beat(w.ctx(), owner, 1))
		w.due(id)
		w.take(id, owner)
		w.expire(owner, 1, 3)
	}
	t := w.get(id)
	if t.Status != backend.StatusFailed || t.Crashes != 3 || t.Attempt != 0 || t.Error == nil || t.Ended.IsZero() {
		w.Errorf("%+v, error %v", t, t.Error)
	}
	if w.add(unique("k")) == id {
		w.Error("its unique key is not free")
	}
}

func expireStopping(w *world) {
	w.must(w.Store.Beat(w.ctx(), "o", 1))
	t := w.take(w.add(), "o")
	_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: t.ID, Reason: "enough"})
	w.must(err)
	tasks := w.expire("o", 1, 1)
	got := w.get(t.ID)
	w.same("returned", tasks, []backend.Task{got.Head()})
	if got.Status != backend.StatusStopped || got.Error == nil ||
		got.Error.Code != backend.ErrAborted || got.Ended.IsZero() {
		w.Errorf("%+v, error %v", got, got.Error)
	}
}

func ownedLists(w *world) {
	none, err := w.Store.Owned(w.ctx(), "o")
	w.must(err)
	w.same("of an unknown owner", len(none), 0)
	a, b, c := w.take(w.add(), "o"), w.take(w.add(in("p")), "o"), w.take(w.add(), "o")
	w.take(w.add(), "other")
	w.settle(c, backend.StatusSuccess)
	_, err = w.Store.Stop(w.ctx(), backend.Stop{ID: b.ID})
	w.must(err)
	owned, err := w.Store.Owned(w.ctx(), "o")
	w.must(err)
	slices.SortFunc(owned, func(a, b backend.Owned) int { return cmp.Compare(a.Queue, b.Queue) })
	w.same("owned", owned, []backend.Owned{
		{ID: b.ID, Queue: "p", Fence: b.Fence, Stopping: true}, {ID: a.ID, Queue: "q", Fence: a.Fence},
	})
}
