package conform

import (
	"fmt"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// What the tasks keep of their attempts, and where they run. Most tests of other behaviours check it as well, since
// world.claim and world.take claim as instances.
var attemptBehaviours = []behaviour{
	{"instance_while_running", instanceWhileRunning}, // it is set by the claim, and cleared when the task waits
	{"instance_of_ended_attempt", instanceOfEnded},   // it is kept, but not of a task that ended while it waited
	{"claim_without_instance", claimWithoutInstance}, // of an older program: the attempt has none either
	{"stopping_while_running", stoppingWhileRunning}, // it is set by the request, and cleared by the end
	{"stopping_in_results", stoppingInResults},       // heads, lists and repeated claims show it
	{"each_end_appends", eachEndAppends},             // an attempt per settle, with its error
	{"error_of_returned_attempt", errorOfReturned},   // only if it is the task's error, too
	{"repeated_settle_appends_none", repeatedAppendsOnce},
	{"loss_appends", lossAppends},             // an attempt that was lost, also of a draining owner
	{"loss_of_poison", lossOfPoison},          // the last attempt has the task's error
	{"loss_of_stopping_task", lossOfStopping}, // it was stopped, not lost
	{"late_claim_is_lost", lateClaimLost},     // one that was granted to a dead owner
	{"no_attempt_no_entry", noAttemptNoEntry}, // a stop, a deadline and a refund append nothing
	{"last_ten", lastTen},                     // older attempts are dropped
	{"long_message", longMessage},             // it is shortened, and remains UTF-8
	{"heads_omit_attempts", headsOmitAttempts},
	{"page_bytes_count_attempts", attemptsCount},
	{"retry_has_none", retryHasNone},              // a task that retries another begins without attempts
	{"each_end_keeps_trace", eachEndKeepsTrace},   // each settle has its own, and claims and lists return them
	{"final_end_keeps_trace", finalEndKeepsTrace}, // also of a task with subtasks, and of a stop
	{"lost_end_has_no_trace", lostHasNoTrace},     // of a loss, a refused settle and one without a trace
}

// testIP is the address of the instances of world.claim and world.take.
const testIP = "10.0.0.1"

// instanceOf returns the instance of an owner in world.claim and world.take.
func instanceOf(owner string) string { return "instance of " + owner }

// attempted returns the attempts that a task must have after its attempt has ended, and clears Instance and IP of want
// unless the attempt ended the task. want is the task while it ran, and stored as it is now.
func (w *world) attempted(want *backend.Task, stored backend.Task, outcome backend.AttemptOutcome,
	why *backend.TaskError,
) {
	w.Helper()
	n := len(stored.Attempts)
	if n == 0 {
		w.Fatalf("task %s has no attempts after one has ended", stored.ID)
	}
	ended := stored.Attempts[n-1].Ended
	if ended.Before(want.Started) || stored.Status.Final() && !ended.Equal(stored.Ended) {
		w.Errorf("an attempt from %v to %v of a task that ended at %v", want.Started, ended, stored.Ended)
	}
	want.Attempts = backend.AppendAttempt(want.Attempts, backend.NewAttempt(want, ended, outcome, why))
	if want.Stopping = false; !stored.Status.Final() {
		want.Instance, want.IP = "", ""
	}
}

// wantAttempts checks the outcomes of a task's attempts.
func (w *world) wantAttempts(id string, want ...backend.AttemptOutcome) []backend.Attempt {
	w.Helper()
	t := w.get(id)
	var got []backend.AttemptOutcome
	for _, a := range t.Attempts {
		got = append(got, a.Outcome)
	}
	w.same("the outcomes of "+id, got, want)
	if len(got) != len(want) {
		w.FailNow()
	}
	return t.Attempts
}

func (w *world) wantPlace(t backend.Task, instance, ip string) {
	w.Helper()
	if t.Instance != instance || t.IP != ip {
		w.Errorf("task %s, %s: at %q, %q, want %q, %q", t.ID, t.Status, t.Instance, t.IP, instance, ip)
	}
}

func instanceWhileRunning(w *world) {
	id := w.add()
	w.must(w.Store.Beat(w.ctx(), "lost", 1))
	w.wantPlace(w.get(id), "", "")
	for i, end := range []func(t backend.Task){
		func(t backend.Task) { w.settle(t, backend.StatusRetrying) },
		func(t backend.Task) { w.settle(t, backend.StatusWaiting) },
		func(backend.Task) { w.expire("lost", 1, 100) },
	} {
		instance, ip := fmt.Sprint("i", i), fmt.Sprint("10.0.0.", i)
		tasks, _, err := w.Store.Claim(w.ctx(), backend.Claim{Queue: "q", Owner: "lost", Nonce: w.next("n"), Max: 1,
			Instance: instance, IP: ip})
		w.must(err)
		w.wantPlace(tasks[0], instance, ip)
		w.wantPlace(w.get(id), instance, ip)
		end(tasks[0])
		w.wantPlace(w.get(id), "", "")
	}
	for i, a := range w.wantAttempts(id, backend.AttemptFailed, backend.AttemptReturned, backend.AttemptLost) {
		if a.Instance != fmt.Sprint("i", i) || a.IP != fmt.Sprint("10.0.0.", i) {
			w.Errorf("attempt %d: %+v", i, a)
		}
	}
}

func instanceOfEnded(w *world) {
	for _, to := range []backend.Status{backend.StatusSuccess, backend.StatusFailed, backend.StatusStopped} {
		t := w.take(w.add(), "o")
		if to == backend.StatusStopped {
			w.stop(t.ID, false)
		}
		w.settle(t, to)
		w.wantPlace(w.get(t.ID), instanceOf("o"), testIP)
	}
	t := w.take(w.add(), "o")
	w.settle(t, backend.StatusRetrying)
	w.stop(t.ID, false)
	w.wantPlace(w.get(t.ID), "", "")
	w.wantAttempts(t.ID, backend.AttemptFailed)
}

func claimWithoutInstance(w *world) {
	id := w.add()
	w.settle(w.take(id, "o"), backend.StatusRetrying)
	tasks, _, err := w.Store.Claim(w.ctx(), backend.Claim{Queue: "q", Owner: "o", Nonce: w.next("n"), Max: 1})
	w.must(err)
	w.wantPlace(tasks[0], "", "")
	w.settle(tasks[0], backend.StatusSuccess)
	w.wantPlace(w.get(id), "", "")
	got := w.wantAttempts(id, backend.AttemptFailed, backend.AttemptSucceeded)
	w.same("instances", []string{got[0].Instance, got[1].Instance}, []string{instanceOf("o"), ""})
}

func stoppingWhileRunning(w *world) {
	stopping := func(id string, want bool) {
		w.Helper()
		w.same("stopping", w.get(id).Stopping, want)
	}
	waits := w.add()
	w.stop(waits, false)
	stopping(waits, false)
	w.must(w.Store.Beat(w.ctx(), "lost", 1))
	settled, lost, other := w.take(w.add(), "o"), w.take(w.add(), "lost"), w.take(w.add(), "o")
	for _, t := range []backend.Task{settled, lost, other} {
		stopping(t.ID, false)
	}
	w.stop(settled.ID, false)
	w.stop(lost.ID, false)
	stopping(settled.ID, true)
	stopping(lost.ID, true)
	stopping(other.ID, false)
	w.wantSettled(backend.Settle{ID: settled.ID, Fence: settled.Fence, Nonce: "n", To: backend.StatusSuccess},
		backend.SettledStopping)
	stopping(settled.ID, true)
	w.settle(settled, backend.StatusStopped)
	w.expire("lost", 1, 3)
	stopping(settled.ID, false)
	stopping(lost.ID, false)
	w.wantStatus(backend.StatusStopped, settled.ID, lost.ID)
}

func stoppingInResults(w *world) {
	c := backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 1, Instance: instanceOf("o"), IP: testIP}
	id := w.add()
	_, _, err := w.Store.Claim(w.ctx(), c)
	w.must(err)
	heads, err := w.Store.Stop(w.ctx(), backend.Stop{ID: id})
	w.must(err)
	again, _, err := w.Store.Claim(w.ctx(), c)
	w.must(err)
	inserted := w.insert(w.task(func(n *backend.NewTask) { n.Task.ID = id }))
	for what, tasks := range map[string][]backend.Task{
		"stopped": heads, "claimed again": again, "inserted again": inserted, "listed": w.list(backend.TaskQuery{}),
	} {
		if len(tasks) != 1 || !tasks[0].Stopping || tasks[0].Instance != instanceOf("o") || tasks[0].IP != testIP {
			w.Errorf("%s: %+v", what, tasks)
		}
	}
}

// eachEndAppends checks all fields of the attempts of one task.
func eachEndAppends(w *world) {
	id := w.add()
	var want []backend.Attempt
	for i, c := range []struct {
		to      backend.Status
		err     *backend.TaskError
		outcome backend.AttemptOutcome
	}{
		{backend.StatusRetrying, failed("one", 100), backend.AttemptFailed},
		{backend.StatusWaiting, nil, backend.AttemptReturned},
		{backend.StatusRetrying, &backend.TaskError{Code: backend.ErrInternal, Message: "two"}, backend.AttemptFailed},
		{backend.StatusSuccess, nil, backend.AttemptSucceeded},
	} {
		w.o.Sleep(w.o.Tick)
		t := w.take(id, fmt.Sprint("o", i))
		w.same("attempts of a running task", t.Attempts, want)
		w.o.Sleep(w.o.Tick)
		w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: c.to, Error: c.err}, backend.SettledApplied)
		after := w.get(id)
		a := backend.Attempt{
			Attempt: t.Attempt, Fence: int64(i + 1), Instance: instanceOf(fmt.Sprint("o", i)), IP: testIP,
			Started: t.Started, Ended: after.Attempts[len(after.Attempts)-1].Ended, Outcome: c.outcome,
		}
		if c.err != nil {
			a.Code, a.Message = c.err.Code, c.err.Message
		}
		if d := a.Ended.Sub(a.Started); d < w.o.Tick/2 || d > time.Minute {
			w.Errorf("attempt %d took %v", i, d)
		}
		want = append(want, a)
		w.same("attempts", after.Attempts, want)
	}
	w.same("numbers", []int{want[0].Attempt, want[1].Attempt, want[2].Attempt, want[3].Attempt}, []int{1, 2, 2, 3})
	w.same("ended", want[3].Ended, w.get(id).Ended)
	w.same("listed", w.list(backend.TaskQuery{})[0].Attempts, want)
}

// errorOfReturned: an attempt that was returned has the error that the task got by it. Others give the task none.
func errorOfReturned(w *world) {
	id := w.add(fingerprint("one"))
	failure := &backend.TaskError{Code: backend.ErrFailedPrecondition, Message: "of another version"}
	for _, is := range []backend.PayloadState{backend.PayloadWrongVersion, backend.PayloadUnknown} {
		t := w.take(id, "o")
		w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusWaiting, Error: failure,
			Payload: is}, backend.SettledApplied)
	}
	got := w.wantAttempts(id, backend.AttemptReturned, backend.AttemptReturned)
	w.same("messages", []string{got[0].Message, got[1].Message}, []string{failure.Message, ""})
	w.same("codes", []backend.Code{got[0].Code, got[1].Code}, []backend.Code{failure.Code, ""})
}

func repeatedAppendsOnce(w *world) {
	t := w.take(w.add(), "o")
	s := backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying}
	for range 3 {
		w.wantSettled(s, backend.SettledApplied)
	}
	w.wantSettled(backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "other", To: backend.StatusFailed}, backend.SettledLost)
	got := w.wantAttempts(t.ID, backend.AttemptFailed)
	if got[0].Code == "" {
		w.Errorf("an attempt that failed without an error: %+v", got[0])
	}
}

func lossAppends(w *world) {
	for _, drains := range []bool{false, true} {
		owner := fmt.Sprint("drains ", drains)
		w.must(w.Store.Beat(w.ctx(), owner, 1))
		t, kept := w.take(w.add(), owner), w.take(w.add(), "other")
		if drains {
			w.must(w.Store.Drain(w.ctx(), owner))
		}
		heads := w.expire(owner, 1, 3)
		w.same("heads", len(heads), 1)
		w.same("attempts in a head", len(heads[0].Attempts), 0)
		w.wantPlace(heads[0], "", "")
		a := w.wantAttempts(t.ID, backend.AttemptLost)[0]
		w.same("attempt", a, backend.Attempt{Attempt: 1, Fence: t.Fence, Instance: t.Instance, IP: t.IP,
			Started: t.Started, Ended: a.Ended, Outcome: backend.AttemptLost})
		if a.Ended.Before(a.Started) {
			w.Errorf("from %v to %v", a.Started, a.Ended)
		}
		w.expire(owner, 1, 3)
		w.wantAttempts(t.ID, backend.AttemptLost)
		w.wantAttempts(kept.ID)
	}
}

func lossOfPoison(w *world) {
	id := w.suspect()
	w.beat("o")
	w.take(id, "o")
	w.expire("o", 1, 1)
	t := w.get(id)
	w.same("status", t.Status, backend.StatusFailed)
	w.wantPlace(t, instanceOf("o"), testIP)
	got := w.wantAttempts(id, backend.AttemptLost, backend.AttemptLost)
	w.same("the first error", got[0].Code, backend.Code(""))
	w.same("the last error", []string{string(got[1].Code), got[1].Message},
		[]string{string(t.Error.Code), t.Error.Message})
	w.same("ended", got[1].Ended, t.Ended)
}

func lossOfStopping(w *world) {
	w.must(w.Store.Beat(w.ctx(), "o", 1))
	t := w.take(w.add(), "o")
	w.stop(t.ID, false)
	w.expire("o", 1, 3)
	after := w.get(t.ID)
	got := w.wantAttempts(t.ID, backend.AttemptStopped)
	w.same("error", []string{string(got[0].Code), got[0].Message}, []string{string(backend.ErrAborted), "enough"})
	w.same("ended", got[0].Ended, after.Ended)
	w.wantPlace(after, instanceOf("o"), testIP)
}

func lateClaimLost(w *world) {
	w.must(w.Store.Beat(w.ctx(), "late", 4))
	w.expire("late", 4, 3)
	id := w.add()
	claimed, _, err := w.Store.Claim(w.ctx(), backend.Claim{
		Queue: "q", Owner: "late", Nonce: w.next("nonce"), Max: 1, OwnerChecked: true,
	})
	if err != nil || len(claimed) == 0 {
		w.wantCode(err, backend.ErrAborted) // stores may refuse
		return
	}
	w.expire("late", 4, 3)
	w.wantAttempts(id, backend.AttemptLost)
}

func noAttemptNoEntry(w *world) {
	waits, late := w.add(), w.add(in("late"), w.deadline(2*w.o.Tick))
	w.stop(waits, false)
	w.o.Sleep(3 * w.o.Tick)
	_, failed, _, err := w.Store.Promote(w.ctx(), "late", 0)
	w.must(err)
	w.same("failed", ids(failed), []string{late})
	for _, id := range []string{waits, late} {
		w.wantAttempts(id)
		w.wantPlace(w.get(id), "", "")
	}
	suspect := w.suspect()
	before := w.get(suspect).Attempts
	w.must(w.Store.Refund(w.ctx(), w.get(suspect).Suspect.Owner))
	w.same("attempts after a refund", w.get(suspect).Attempts, before)
}

func lastTen(w *world) {
	id := w.add()
	const all = backend.KeptAttempts + 3
	for range all {
		w.settle(w.take(id, "o"), backend.StatusRetrying)
	}
	got := w.get(id).Attempts
	w.same("kept", len(got), backend.KeptAttempts)
	for i, a := range got {
		w.same("attempt", a.Attempt, all-backend.KeptAttempts+1+i)
		w.same("fence", a.Fence, int64(a.Attempt))
	}
}

func longMessage(w *world) {
	t := w.take(w.add(), "o")
	long := &backend.TaskError{Code: backend.ErrInternal, Message: strings.Repeat("€", backend.MaxAttemptMessage)}
	w.wantSettled(backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusFailed, Error: long},
		backend.SettledApplied)
	w.same("message", w.get(t.ID).Attempts[0].Message, backend.Text(long.Message, backend.MaxAttemptMessage))
	w.same("the task's error", w.get(t.ID).Error, long)
}

func headsOmitAttempts(w *world) {
	id := w.add()
	w.settle(w.take(id, "o"), backend.StatusRetrying)
	stop := func() []backend.Task {
		heads, err := w.Store.Stop(w.ctx(), backend.Stop{ID: id})
		w.must(err)
		return heads
	}
	for what, tasks := range map[string][]backend.Task{
		"inserted again": w.insert(w.task(func(n *backend.NewTask) { n.Task.ID = id })),
		"stopped":        stop(),
	} {
		w.same(what, len(tasks), 1)
		w.same("attempts of a task "+what, len(tasks[0].Attempts), 0)
	}
	w.wantAttempts(id, backend.AttemptFailed)
}

// attemptsCount: the attempts of a task count for the size of a page.
func attemptsCount(w *world) {
	long := &backend.TaskError{Code: backend.ErrInternal, Message: strings.Repeat("x", backend.MaxAttemptMessage)}
	for range 4 {
		id := w.add(in("long"))
		for range backend.KeptAttempts {
			t := w.take(id, "o")
			w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying, Error: long},
				backend.SettledApplied)
		}
	}
	const size = backend.KeptAttempts * backend.MaxAttemptMessage // of the attempts of a task, at least
	page, err := w.Store.List(w.ctx(), backend.TaskQuery{Queue: "long", Bytes: 2 * size})
	w.must(err)
	if n := len(page.Tasks); n != 1 || page.Cursor == "" {
		w.Errorf("%d tasks on a page", n)
	}
}

func retryHasNone(w *world) {
	w.done(w.add(id("old")), backend.StatusFailed)
	again := w.add(func(n *backend.NewTask) { n.Task.RetryOf = "old" })
	w.wantAttempts(again)
	w.wantAttempts("old", backend.AttemptFailed)
}
