package conform

import (
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var settleBehaviours = []behaviour{
	{"writes", settleWrites},     // a settle sets the fields of its row in the state table
	{"repeated", settleRepeated}, // a settle whose reply was lost is always reported as applied
	{"stale_is_lost", settleStale},
	{"one_of_many", settleAtOnce}, // of many settles of one claim, one is applied
	{"stop_beats_success", settleStopping},
	{"lost_claim", settleLostClaim}, // a claim whose reply was lost is released with the result of Owned
	{"batch", settleBatch},          // the outcome of each settle is returned
	{"invalid_status", func(w *world) { // it is refused
		t := w.take(w.add(), "o")
		for _, to := range []backend.Status{backend.StatusPending, backend.StatusRunning, "", "odd"} {
			_, err := w.Store.Settle(w.ctx(), []backend.Settle{{ID: t.ID, Fence: t.Fence, Nonce: "n", To: to}})
			w.wantCode(err, backend.ErrInvalidArgument)
		}
		w.same("the task", w.get(t.ID), t)
	}},
	{"progress_needs_fence", progress},
	{"success_clears_error", settleClearsError},
	{"log", settleLog}, // a log replaces the stored one; without a log it stays
}

func settleWrites(w *world) {
	result, failure := json.RawMessage(`{"ok":true}`), &backend.TaskError{Code: backend.ErrInternal, Message: "broken"}
	end := func(to backend.Status, err *backend.TaskError, delay time.Duration) (before, after backend.Task) {
		before = w.take(w.add(), "o")
		w.wantSettled(backend.Settle{
			ID: before.ID, Fence: before.Fence, Nonce: "n", To: to, Result: result, Error: err, Delay: delay,
		}, backend.SettledApplied)
		return before, w.get(before.ID)
	}
	before, after := end(backend.StatusSuccess, nil, 0)
	w.attempted(&before, after, backend.AttemptSucceeded, nil)
	before.Status, before.Result, before.Ended = backend.StatusSuccess, result, after.Ended
	w.same("success", after, before)

	before, after = end(backend.StatusFailed, failure, 0)
	w.attempted(&before, after, backend.AttemptFailed, failure)
	before.Status, before.Error, before.Ended = backend.StatusFailed, failure, after.Ended
	w.same("failed", after, before)
	if _, after = end(backend.StatusFailed, nil, 0); after.Error == nil {
		w.Error("failed without an error")
	}

	before, after = end(backend.StatusRetrying, failure, time.Hour)
	if d := after.RunAt.Sub(before.Started); d < time.Hour-time.Second || d > time.Hour+time.Minute {
		w.Errorf("retrying in %v, want an hour", d)
	}
	w.attempted(&before, after, backend.AttemptFailed, failure)
	before.Status, before.Error, before.RunAt = backend.StatusRetrying, failure, after.RunAt
	w.same("retrying", after, before)

	before, after = end(backend.StatusWaiting, nil, time.Hour)
	if d := after.RunAt.Sub(before.Started); d < time.Hour-time.Second || d > time.Hour+time.Minute {
		w.Errorf("waiting for %v, want an hour", d)
	}
	w.attempted(&before, after, backend.AttemptReturned, nil)
	before.Status, before.Attempt, before.RunAt = backend.StatusWaiting, 0, after.RunAt
	w.same("waiting", after, before)
}

// A successful task shows no error of an earlier attempt in any result. A task that waits again keeps it.
func settleClearsError(w *world) {
	failure := &backend.TaskError{Code: backend.ErrInternal, Message: "broken"}
	id := w.add()
	t := w.take(id, "o")
	w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying, Error: failure},
		backend.SettledApplied)
	t = w.take(id, "o")
	w.same("the error while it runs again", t.Error, failure)
	w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusWaiting}, backend.SettledApplied)
	w.same("the error of a snoozed task", w.get(id).Error, failure)
	t = w.take(id, "o")
	w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusSuccess}, backend.SettledApplied)
	w.same("the error after success", w.get(id).Error, (*backend.TaskError)(nil))
	page, err := w.Store.List(w.ctx(), backend.TaskQuery{Queue: "q", Statuses: []backend.Status{backend.StatusSuccess}})
	w.must(err)
	w.same("listed", ids(page.Tasks), []string{id})
	w.same("the error in the list", page.Tasks[0].Error, (*backend.TaskError)(nil))
}

func settleLog(w *world) {
	t := w.take(w.add(), "o")
	for i, log := range [][]string{nil, {"one", "two words"}, nil, {"three"}, nil} {
		w.wantSettled(backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying, Log: log},
			backend.SettledApplied)
		w.same("the log", w.get(t.ID).Log,
			[][]string{nil, {"one", "two words"}, {"one", "two words"}, {"three"}, {"three"}}[i])
		t = w.take(t.ID, "o")
	}
	w.wantSettled(backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusSuccess, Log: []string{"four"}},
		backend.SettledApplied)
	w.same("the log", w.get(t.ID).Log, []string{"four"})
}

func settleRepeated(w *world) {
	for _, to := range []backend.Status{
		backend.StatusSuccess, backend.StatusFailed, backend.StatusStopped, backend.StatusRetrying, backend.StatusWaiting,
	} {
		t := w.take(w.add(), "o")
		if to == backend.StatusStopped {
			_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: t.ID})
			w.must(err)
		}
		s := backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: to, Result: json.RawMessage(`1`)}
		w.wantSettled(s, backend.SettledApplied)
		after := w.get(t.ID)
		w.wantSettled(s, backend.SettledApplied)
		w.same(string(to)+", repeated", w.get(t.ID), after)
		if !to.Final() {
			again := w.take(t.ID, "o")
			w.wantSettled(s, backend.SettledLost)
			w.same("claimed again", w.get(t.ID), again)
		}
	}
	// A repeat is applied even after the task was moved without a claim.
	t := w.take(w.add(), "o")
	s := backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying}
	w.wantSettled(s, backend.SettledApplied)
	_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: t.ID})
	w.must(err)
	w.wantSettled(s, backend.SettledApplied)
	w.wantStatus(backend.StatusStopped, t.ID)
}

func settleStale(w *world) {
	id := w.add()
	first := w.take(id, "o")
	w.settle(first, backend.StatusRetrying)
	second := w.take(id, "o")
	w.wantSettled(backend.Settle{ID: id, Fence: first.Fence, Nonce: "n", To: backend.StatusSuccess}, backend.SettledLost)
	w.same("an old fence", w.get(id), second)
	w.wantSettled(backend.Settle{ID: id, Fence: second.Fence, Nonce: "mine", To: backend.StatusSuccess},
		backend.SettledApplied)
	done := w.get(id)
	w.wantSettled(backend.Settle{ID: id, Fence: second.Fence, Nonce: "other", To: backend.StatusFailed},
		backend.SettledLost)
	w.same("another nonce", w.get(id), done)
	w.wantSettled(backend.Settle{ID: "unknown", Fence: 1, Nonce: "n", To: backend.StatusFailed}, backend.SettledLost)
}

func settleAtOnce(w *world) {
	for range 5 {
		t := w.take(w.add(), "o")
		got := many(w, func(int) backend.Settled {
			to := backend.StatusSuccess
			came, err := w.Store.Settle(w.ctx(), []backend.Settle{{ID: t.ID, Fence: t.Fence, Nonce: w.next("n"), To: to}})
			if err != nil {
				w.Error(err)
				return backend.SettledLost
			}
			return came[0]
		})
		applied := 0
		for _, c := range got {
			if c == backend.SettledApplied {
				applied++
			}
		}
		w.same("applied", applied, 1)
	}
}

func settleStopping(w *world) {
	t := w.take(w.add(), "o")
	asked, err := w.Store.Stop(w.ctx(), backend.Stop{ID: t.ID, Reason: "enough"})
	w.must(err)
	w.same("asked to stop", ids(asked), []string{t.ID})
	for _, to := range []backend.Status{
		backend.StatusSuccess, backend.StatusFailed, backend.StatusRetrying, backend.StatusWaiting,
	} {
		w.wantSettled(backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: to, Result: json.RawMessage(`1`)},
			backend.SettledStopping)
	}
	t.Stopping = true
	w.same("the task", w.get(t.ID), t)
	w.wantSettled(backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusStopped,
		Result: json.RawMessage(`1`)}, backend.SettledApplied)
	want := t
	want.Status, want.Ended = backend.StatusStopped, w.get(t.ID).Ended
	want.Error = &backend.TaskError{Code: backend.ErrAborted, Message: "enough"}
	w.attempted(&want, w.get(t.ID), backend.AttemptStopped, want.Error)
	w.same("stopped, its result discarded", w.get(t.ID), want)
}

func settleLostClaim(w *world) {
	id := w.add()
	w.claim("q", "o", 1) // the reply is lost
	owned, err := w.Store.Owned(w.ctx(), "o")
	w.must(err)
	w.same("owned", owned, []backend.Owned{{ID: id, Queue: "q", Fence: 1}})
	w.wantSettled(backend.Settle{ID: id, Fence: owned[0].Fence, Nonce: "made for the audit", To: backend.StatusWaiting},
		backend.SettledApplied)
	w.same("attempts", w.get(id).Attempt, 0)
	w.take(id, "another")
}

func settleBatch(w *world) {
	var settles []backend.Settle
	for range 3 {
		t := w.take(w.add(), "o")
		settles = append(settles, backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusSuccess})
	}
	settles[1].Fence++
	_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: settles[2].ID})
	w.must(err)
	settles = append(settles, settles[0])
	came, err := w.Store.Settle(w.ctx(), settles)
	w.must(err)
	w.same("came", came, []backend.Settled{
		backend.SettledApplied, backend.SettledLost, backend.SettledStopping, backend.SettledApplied,
	})
	none, err := w.Store.Settle(w.ctx(), nil)
	w.must(err)
	w.same("of none", len(none), 0)
}

func progress(w *world) {
	t := w.take(w.add(), "o")
	w.must(w.Store.Progress(w.ctx(), t.ID, t.Fence, json.RawMessage(`{"at":1}`)))
	want := t
	noted := w.get(t.ID)
	want.Progress, want.Progressed = json.RawMessage(`{"at":1}`), noted.Progressed
	w.same("noted", noted, want)
	if d := noted.Progressed.Sub(t.Started); d < 0 || d > time.Minute {
		w.Errorf("reported %v after the task started", d)
	}
	w.wantCode(w.Store.Progress(w.ctx(), t.ID, t.Fence-1, json.RawMessage(`2`)), backend.ErrAborted)
	w.settle(t, backend.StatusRetrying)
	w.wantCode(w.Store.Progress(w.ctx(), t.ID, t.Fence, json.RawMessage(`3`)), backend.ErrAborted)
	latest := w.get(t.ID)
	w.same("the latest progress", latest.Progress, want.Progress)
	w.same("when it was reported", latest.Progressed, want.Progressed)
	w.wantCode(w.Store.Progress(w.ctx(), "unknown", 1, json.RawMessage(`3`)), backend.ErrAborted)
}
