package conform

import (
	"fmt"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var versionBehaviours = []behaviour{
	{"skip_leaves_tasks_to_their_version", versionSkip},
	{"skip_keeps_the_order_of_the_rest", versionOrder},
	{"skip_only_where_the_version_may_run", versionAllowed},
	{"skip_by_ids_and_by_a_repeated_nonce", versionIDs},
	{"a_payload_that_does_not_decode_is_noted_and_uncharged", versionNoted},
	{"a_fitting_claim_does_not_wait", versionFits},
	{"a_fitting_claim_keeps_when_a_task_was_due", versionDue},
	{"a_fitting_claim_does_not_wait_for_what_was_lost", versionLost},
	{"one_of_many_marks_a_task_as_retried", markRetried},
}

func fingerprint(f string) func(*backend.NewTask) {
	return func(n *backend.NewTask) { n.Task.Fingerprint = f }
}

// claimAs claims with a version's fingerprint, and skips tasks of other versions.
func (w *world) claimAs(own string, max int, ids []string, others ...backend.Version) []backend.Task {
	w.Helper()
	tasks, _, err := w.Store.Claim(w.ctx(), backend.Claim{
		Queue: "q", Owner: "o", Nonce: w.next("nonce"), Max: max, IDs: ids, Fingerprint: own, Skip: others,
	})
	w.must(err)
	return tasks
}

func versionSkip(w *world) {
	one, two, none := w.add(fingerprint("one")), w.add(fingerprint("two")), w.add()
	other := w.add(fingerprint("one"), in("elsewhere"))
	three := w.add(fingerprint("three"))
	v1, v2 := backend.Version{Fingerprint: "one"}, backend.Version{Fingerprint: "two"}
	w.same("without those of two versions", ids(w.claimAs("", 9, nil, v1, v2)), []string{none, three})
	w.same("again", ids(w.claimAs("", 9, nil, v1, v2)), []string{})
	w.same("without those of one", ids(w.claimAs("one", 9, nil, v2)), []string{one})
	w.same("all", ids(w.claimAs("", 9, nil)), []string{two})
	w.wantStatus(backend.StatusWaiting, other)
}

// versionOrder claims one by one: each is the best of the permitted ones.
func versionOrder(w *world) {
	var want []string
	for i := range 24 {
		f := fmt.Sprint("f", i%3)
		name := w.add(fingerprint(f), weight(i/12))
		if f != "f1" {
			want = append(want, name)
		}
		w.o.Sleep(time.Millisecond)
	}
	want = append(want[8:], want[:8]...) // the heavier first
	var got []string
	for range want {
		got = append(got, ids(w.claimAs("", 1, nil, backend.Version{Fingerprint: "f1"}))...)
	}
	w.same("one by one", got, want)
	w.same("and no more", ids(w.claimAs("", 9, nil, backend.Version{Fingerprint: "f1"})), []string{})
	w.same("the others", len(w.claimAs("", 99, nil)), 8)
}

// versionAllowed has tasks that may run only at some addresses. A claim skips them if a version at one of these is
// present.
func versionAllowed(w *world) {
	here, there := w.add(fingerprint("one"), allow("10.0.0.1", "10.0.0.2")), w.add(fingerprint("one"), allow("10.0.0.0/8"))
	claim := func(at ...string) []string {
		var theirs []string
		for _, ip := range at {
			theirs = append(theirs, backend.AllowedBy(ip)...)
		}
		tasks, _, err := w.Store.Claim(w.ctx(), backend.Claim{
			Queue: "q", Owner: "o", Nonce: w.next("nonce"), Max: 9, Networks: backend.AllowedBy("10.0.0.1"),
			Skip: []backend.Version{{Fingerprint: "one", Networks: theirs}},
		})
		w.must(err)
		return ids(tasks)
	}
	w.same("the version is at both", claim("192.0.2.1", "10.0.0.2"), []string{})
	w.same("it is at one network", claim("10.9.9.9"), []string{here})
	w.same("it runs on another instance", claim("192.0.2.1"), []string{there})
}

func versionIDs(w *world) {
	one, two := w.add(fingerprint("one")), w.add(fingerprint("two"))
	v1 := backend.Version{Fingerprint: "one"}
	w.same("by ids", ids(w.claimAs("", 9, []string{one, two}, v1)), []string{two})
	w.same("by an id, one slot", ids(w.claimAs("", 1, []string{one, two}, v1)), []string{})
	c := backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 9}
	for range 2 { // a repeated claim returns what it took, whatever it would skip now
		got, _, err := w.Store.Claim(w.ctx(), c)
		w.must(err)
		w.same("by a nonce", ids(got), []string{one})
		c.Skip = []backend.Version{v1}
	}
}

func versionNoted(w *world) {
	failure := &backend.TaskError{Code: backend.ErrFailedPrecondition, Message: "of another version"}
	id := w.add(fingerprint("one"))
	settle := func(to backend.Status, is backend.PayloadState) (before, after backend.Task) {
		w.Helper()
		before = w.take(id, "o")
		w.wantSettled(backend.Settle{ID: id, Fence: before.Fence, Nonce: "n", To: to, Error: failure, Payload: is},
			backend.SettledApplied)
		return before, w.get(id)
	}
	before, after := settle(backend.StatusWaiting, backend.PayloadWrongVersion)
	since := after.WrongVersionSince
	if since.Before(before.Started) || since.After(before.Started.Add(time.Minute)) {
		w.Errorf("wrong since %v, claimed at %v", since, before.Started)
	}
	w.attempted(&before, after, backend.AttemptReturned, failure)
	before.Status, before.Attempt, before.Error, before.RunAt, before.WrongVersionSince = backend.StatusWaiting, 0,
		failure, after.RunAt, since
	w.same("noted", after, before)

	w.o.Sleep(w.o.Tick)
	_, after = settle(backend.StatusWaiting, backend.PayloadWrongVersion)
	w.same("again: since", after.WrongVersionSince, since)
	w.same("again: attempts", after.Attempt, 0)
	_, after = settle(backend.StatusWaiting, backend.PayloadUnknown)
	w.same("given back: since", after.WrongVersionSince, since)
	if _, after = settle(backend.StatusRetrying, backend.PayloadDecoded); !after.WrongVersionSince.IsZero() {
		w.Errorf("it decoded, and is wrong since %v", after.WrongVersionSince)
	}
	settle(backend.StatusWaiting, backend.PayloadWrongVersion)
	_, after = settle(backend.StatusFailed, backend.PayloadWrongVersion)
	w.same("failed: error", after.Error, failure)
	if after.Status != backend.StatusFailed || after.WrongVersionSince.IsZero() {
		w.Errorf("failed: %+v", after)
	}
}

func versionFits(w *world) {
	fail := func(id string, is backend.PayloadState) {
		t := w.take(id, "o")
		w.wantSettled(backend.Settle{
			ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusWaiting, Payload: is, Delay: time.Hour,
		}, backend.SettledApplied)
	}
	one, two, snoozed := w.add(fingerprint("one")), w.add(fingerprint("two")), w.add(fingerprint("one"))
	later, elsewhere := w.add(fingerprint("one"), delay(time.Hour)), w.add(fingerprint("one"), in("elsewhere"))
	fail(one, backend.PayloadWrongVersion)
	fail(two, backend.PayloadWrongVersion)
	fail(snoozed, backend.PayloadUnknown)
	w.same("without a fingerprint", ids(w.claimAs("", 9, nil)), []string{})
	w.same("with another", ids(w.claimAs("three", 9, nil)), []string{})
	w.same("with its own", ids(w.claimAs("one", 9, nil)), []string{one})
	t := w.get(one)
	if t.RunAt.After(t.Started) {
		w.Errorf("due at %v, and claimed at %v", t.RunAt, t.Started)
	}
	w.settle(t, backend.StatusSuccess)
	w.wantStatus(backend.StatusWaiting, two, snoozed, later, elsewhere)

	// A stopped or ended task keeps its status.
	stopped := w.add(fingerprint("one"))
	fail(stopped, backend.PayloadWrongVersion)
	_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: stopped})
	w.must(err)
	w.same("after a stop", ids(w.claimAs("one", 9, nil)), []string{})
	w.wantStatus(backend.StatusStopped, stopped)
}

func versionDue(w *world) {
	id := w.add(fingerprint("one"))
	t := w.take(id, "o")
	w.wantSettled(backend.Settle{
		ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusWaiting, Payload: backend.PayloadWrongVersion, Delay: w.o.Tick,
	}, backend.SettledApplied)
	due := w.get(id).RunAt
	w.o.Sleep(2 * w.o.Tick)
	claimed := w.claimAs("one", 9, nil)
	w.same("claimed", ids(claimed), []string{id})
	w.same("due", w.get(id).RunAt, due)
}

// versionLost claims a task that did not decode and is then lost with its owner, which delays it: as a suspect, and
// refunded.
func versionLost(w *world) {
	wrong := func(owner string) string {
		id := w.add(fingerprint("one"))
		t := w.take(id, "o")
		w.wantSettled(backend.Settle{
			ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusWaiting, Payload: backend.PayloadWrongVersion,
		}, backend.SettledApplied)
		w.beat(owner)
		w.take(id, owner)
		w.lose(owner)
		return id
	}
	suspect := wrong("first")
	tasks, _, err := w.Store.Claim(w.ctx(),
		backend.Claim{Queue: "q", Owner: "o", Nonce: "suspects", Max: 9, Fingerprint: "one", Suspects: 1})
	w.must(err)
	w.same("as a suspect", ids(tasks), []string{suspect})
	refunded := wrong("second")
	w.must(w.Store.Refund(w.ctx(), "second"))
	w.same("refunded", ids(w.claimAs("one", 9, nil)), []string{refunded})
}

func markRetried(w *world) {
	id := w.add()
	_, err := w.Store.MarkRetried(w.ctx(), "unknown", "", "x")
	w.wantCode(err, backend.ErrNotFound)
	_, err = w.Store.MarkRetried(w.ctx(), id, "", "x")
	w.wantCode(err, backend.ErrFailedPrecondition)
	w.done(id, backend.StatusFailed)
	before := w.get(id)
	got := many(w, func(i int) string {
		by, err := w.Store.MarkRetried(w.ctx(), id, "", fmt.Sprint("by", i))
		if err != nil {
			w.Error(err)
		}
		return by
	})
	for _, by := range got {
		w.same("marked by", by, got[0])
	}
	before.RetriedBy = got[0]
	w.same("marked", w.get(id), before)
	mark := func(from, to, want string) {
		w.Helper()
		by, err := w.Store.MarkRetried(w.ctx(), id, from, to)
		w.must(err)
		w.same("marked by", by, want)
		w.same("read", w.get(id).RetriedBy, want)
	}
	mark("", "other", got[0])
	mark("odd", "other", got[0])
	mark(got[0], "", "")
	mark("", "other", "other")
}
