package conform

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var subtaskBehaviours = []behaviour{
	{"gate_opens", gateOpens}, // a gate opens when the batch is committed and the source has succeeded
	{"run_now", gateNow},      // RunNow opens the gate at once
	{"gated_is_shown", gateShown},
	{"settle_reports_subtasks", settleFamily},
	{"repeated_batch", spawnRepeated}, // a batch that is committed or inserted again changes nothing
	// a source takes subtasks until it fails, is stopped or its set is finished
	{"spawn_guard", spawnGuard},
	{"discard", discard},                         // uncommitted subtasks are discarded, and nothing else
	{"finished_once", finishOnce},                // a set is finished once, when none of its subtasks is alive
	{"empty_batch", finishEmpty},                 // it is a set, too
	{"done_only_on_success", finishWithout},      // SubtasksDone runs if the source succeeded and requested it
	{"finished_once_by_many", finishAtOnce},      // subtasks are settled by many at once
	{"spawn_against_finish", spawnAgainstFinish}, // a finished set has no live subtask
	{"subtasks_of_subtasks", grandchildren},
	{"batch_is_atomic", batchWhole},
	{"batch_against_discard", batchAgainstDiscard}, // a batch discarded during its insert is whole or refused
	{"uncommitted_source", spawnUncommitted},
	{"batch_needs_fence", batchFenced}, // only the current attempt of a source adds subtasks
	{"bounded_batches", batchesBounded},
}

// spawn inserts and commits a batch and returns its ids.
func (w *world) spawn(source, batch string, now bool, n int, with ...func(*backend.NewTask)) []string {
	w.Helper()
	var tasks []backend.NewTask
	for i := range n {
		tasks = append(tasks, w.task(append([]func(*backend.NewTask){
			id(fmt.Sprintf("%s/%s/%d", source, batch, i)), child(source, batch), in("sub"),
		}, with...)...))
	}
	stored := ids(w.insert(tasks...))
	w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: batch, Now: now}))
	return stored
}

func (w *world) open(source string) []string {
	w.Helper()
	queues, err := w.Store.Open(w.ctx(), source)
	w.must(err)
	slices.Sort(queues)
	return queues
}

func (w *world) wantFinish(source string, finished bool, queue string) {
	w.Helper()
	f, q, err := w.Store.Finish(w.ctx(), source)
	w.must(err)
	if f != finished || q != queue {
		w.Errorf("finishing %s: %v, %q, want %v, %q", source, f, q, finished, queue)
	}
}

func (w *world) wantClaimed(queue string, want ...string) {
	w.Helper()
	got := ids(w.claim(queue, "owner", 1000))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.Errorf("claimed of %s: %v, want %v", queue, got, want)
	}
}

func gateOpens(w *world) {
	source := w.add()
	run := w.take(source, "o")
	gated := w.add(child(source, "a"), in("sub"))
	w.wantClaimed("sub")
	_, _, err := w.Store.Claim(w.ctx(), backend.Claim{Queue: "sub", Owner: "o", Nonce: "n", Max: 1, IDs: []string{gated}})
	w.must(err)
	w.wantStatus(backend.StatusWaiting, gated)
	w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "a"}))
	w.wantClaimed("sub")
	w.same("nothing opens before the source has succeeded", len(w.open(source)), 0)
	w.wantClaimed("sub")
	b := w.spawn(source, "b", false, 2, in("other"))
	w.settle(run, backend.StatusSuccess)
	w.wantClaimed("sub")
	w.same("opened", w.open(source), []string{"other", "sub"})
	w.open(source)
	w.wantClaimed("sub", gated)
	w.wantClaimed("other", b...)
	// From then on, Spawn opens the gate.
	w.wantClaimed("sub", w.spawn(source, "c", false, 2)...)
	w.same("of an unknown source", len(w.open("unknown")), 0)
}

// settleFamily: Settle reports whether the task has subtasks.
func settleFamily(w *world) {
	end := func(id string, want backend.Settled) {
		t := w.take(id, "o")
		w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "end", To: backend.StatusSuccess}, want)
		w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "end", To: backend.StatusSuccess}, want)
	}
	end(w.add(), backend.SettledApplied)
	source := w.add()
	w.spawn(source, "b", false, 1)
	end(source, backend.SettledWithSubtasks)
	empty := w.add()
	w.spawn(empty, "b", false, 0)
	end(empty, backend.SettledWithSubtasks)
	uncommitted := w.add()
	w.add(child(uncommitted, "b"))
	end(uncommitted, backend.SettledApplied)
}

func gateNow(w *world) {
	source := w.add()
	later := w.spawn(source, "later", false, 1)
	w.wantClaimed("sub", w.spawn(source, "now", true, 2)...)
	w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "later", Now: true}))
	w.wantClaimed("sub", later...)
	w.spawn(source, "due", true, 1, delay(time.Hour))
	w.wantClaimed("sub")
}

func gateShown(w *world) {
	want := func(when string, gated bool, ids ...string) {
		w.Helper()
		for _, id := range ids {
			w.same(id+" "+when, w.get(id).Gated, gated)
		}
	}
	source := w.add()
	run := w.take(source, "o")
	held := w.add(child(source, "held"), in("sub"))
	want("before its batch is committed", false, source, held)
	w.same("uncommitted source", w.get(source).Uncommitted, false)
	w.same("uncommitted", w.get(held).Uncommitted, true)
	w.same("uncommitted, listed", w.list(backend.TaskQuery{Source: source})[0].Uncommitted, true)
	gated, open := w.spawn(source, "later", false, 3), w.spawn(source, "now", true, 1)
	want("behind the gate", true, gated...)
	w.same("uncommitted after its commit", w.get(gated[0]).Uncommitted, false)
	w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "held", Now: true}))
	w.same("uncommitted when committed and open", w.get(held).Uncommitted, false)
	want("before the gate", false, append(open, source)...)
	_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: gated[0], Reason: "r"})
	w.must(err)
	want("when it was stopped", false, gated[0])
	under := w.spawn(gated[1], "b", false, 1)
	w.settle(run, backend.StatusSuccess)
	want("before the gate is opened", true, gated[1:]...)
	w.open(source)
	want("when the gate is open", false, gated...)
	want("under a subtask that has not ended", true, under...)
	w.done(gated[1], backend.StatusSuccess)
	w.open(gated[1])
	want("when that has ended", false, under...)
}

func spawnRepeated(w *world) {
	source := w.add()
	run := w.take(source, "o")
	first := w.spawn(source, "b", true, 3)
	w.done(first[0], backend.StatusSuccess)
	before := w.get(first[0])
	w.same("the same ids", w.spawn(source, "b", true, 3), first)
	w.same("the one that ended", w.get(first[0]), before)
	w.wantClaimed("sub", first[1:]...)
	w.settle(run, backend.StatusSuccess)
	for _, t := range first[1:] {
		w.settle(w.get(t), backend.StatusSuccess)
	}
	w.wantFinish(source, true, "q")
	w.same("total", w.get(source).Subtasks.Total, 3)
	// A reply that arrives very late: the batch is committed, whatever the source's status.
	w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "b"}))
	w.same("total", w.get(source).Subtasks.Total, 3)
}

func spawnGuard(w *world) {
	spawn := func(source string) error {
		w.add(child(source, "last"))
		return w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "last"})
	}
	w.wantCode(spawn("unknown"), backend.ErrNotFound)
	w.must(spawn(w.add()))
	delayed := w.add(delay(time.Hour))
	w.must(spawn(delayed))
	running := w.add()
	run := w.take(running, "o")
	w.must(spawn(running))
	w.settle(run, backend.StatusRetrying)
	w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: running, Batch: "more"}))
	succeeded := w.add()
	w.done(succeeded, backend.StatusSuccess)
	w.must(spawn(succeeded))

	failed := w.add()
	w.done(failed, backend.StatusFailed)
	w.wantCode(spawn(failed), backend.ErrFailedPrecondition)
	stopped := w.add()
	_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: stopped})
	w.must(err)
	w.wantCode(spawn(stopped), backend.ErrFailedPrecondition)
	finished := w.add()
	w.done(finished, backend.StatusSuccess)
	w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: finished, Batch: "empty"}))
	w.wantFinish(finished, true, "q")
	w.wantCode(spawn(finished), backend.ErrFailedPrecondition)
	for _, source := range []string{"unknown", failed, stopped, finished} {
		w.must(w.Store.Discard(w.ctx(), source, "last"))
		w.same("left under "+source, len(w.list(backend.TaskQuery{Source: source})), 0)
	}
}

func discard(w *world) {
	source := w.add()
	committed := w.spawn(source, "a", false, 2)
	gated, other := w.add(child(source, "b"), unique("k")), w.add(child(source, "c"))
	w.must(w.Store.Discard(w.ctx(), source, "a"))
	w.must(w.Store.Discard(w.ctx(), source, "b"))
	w.must(w.Store.Discard(w.ctx(), source, "b"))
	w.must(w.Store.Discard(w.ctx(), source, "nothing"))
	w.must(w.Store.Discard(w.ctx(), "unknown", "b"))
	_, err := w.Store.Get(w.ctx(), gated)
	w.wantCode(err, backend.ErrNotFound)
	w.wantStatus(backend.StatusWaiting, append(committed, other)...)
	if again := w.insert(w.task(child(source, "b"), unique("k"), id(gated))); again[0].ID != gated {
		w.Error("a discarded task keeps its unique key")
	}
	w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "b"}))
	w.must(w.Store.Discard(w.ctx(), source, "b"))
	w.get(gated)
}

func finishOnce(w *world) {
	source := w.task(weight(7))
	source.Task.Fingerprint = "print"
	name := w.insert(source)[0].ID
	w.wantFinish("unknown", false, "")
	w.wantFinish(name, false, "") // it has no subtasks
	run := w.take(name, "o")
	kids := w.spawn(name, "b", true, 4)
	w.add(child(name, "uncommitted"), in("sub"))
	w.wantFinish(name, false, "")
	w.done(kids[0], backend.StatusSuccess)
	w.done(kids[1], backend.StatusFailed)
	_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: kids[2]})
	w.must(err)
	last := w.take(kids[3], "o")
	w.settle(last, backend.StatusRetrying)
	w.settle(run, backend.StatusSuccess)
	w.wantFinish(name, false, "")
	w.done(kids[3], backend.StatusSuccess)
	w.same("not before Finish", w.get(name).Subtasks == nil, true)
	w.wantFinish(name, true, "q")
	first := w.get(name)
	if first.Subtasks == nil {
		w.Fatal("no counts")
	}
	want := &backend.SubtaskCounts{Total: 4, Succeeded: 2, Failed: 1, Stopped: 1, Finished: first.Subtasks.Finished}
	w.same("counts", first.Subtasks, want)
	w.same("status", first.Status, backend.StatusSuccess)
	if first.Subtasks.Finished.IsZero() {
		w.Error("no time")
	}

	done := w.get(name + "/done")
	w.same("done task", done, backend.Task{
		ID: name + "/done", Queue: "q", Status: done.Status, Weight: 7, Payload: source.Task.Payload, Fingerprint: "print",
		DoneOf: name, Created: done.Created, RunAt: done.RunAt,
	})
	w.done(done.ID, backend.StatusSuccess)
	w.wantFinish(name, true, "")
	w.same("finished twice", w.get(name), first)
	w.same("the done task is no child", w.get(name).Subtasks.Total, 4)
	w.same("it ran once", w.get(done.ID).Fence, int64(1))
}

func finishEmpty(w *world) {
	source := w.add()
	run := w.take(source, "o")
	w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "b"}))
	w.wantFinish(source, false, "")
	w.settle(run, backend.StatusSuccess)
	w.wantFinish(source, true, "q")
	if c := w.get(source).Subtasks; c == nil || c.Total != 0 {
		w.Errorf("counts %+v", c)
	}
	w.get(source + "/done")
}

func finishWithout(w *world) {
	plain := w.add()
	run := w.claim("q", "o", 1)[0] // without FanIn
	kids := w.spawn(plain, "b", true, 1)
	w.settle(run, backend.StatusSuccess)
	w.done(kids[0], backend.StatusSuccess)
	w.wantFinish(plain, true, "")
	w.same("total", w.get(plain).Subtasks.Total, 1)
	_, err := w.Store.Get(w.ctx(), plain+"/done")
	w.wantCode(err, backend.ErrNotFound)

	failed := w.add()
	run = w.take(failed, "o")
	kids = w.spawn(failed, "b", true, 1)
	w.settle(run, backend.StatusFailed)
	w.wantFinish(failed, false, "")
	_, err = w.Store.Stop(w.ctx(), backend.Stop{ID: failed, Below: true})
	w.must(err)
	w.wantStatus(backend.StatusStopped, kids...)
	w.wantFinish(failed, true, "")
	w.same("stopped", w.get(failed).Subtasks.Stopped, 1)
	_, err = w.Store.Get(w.ctx(), failed+"/done")
	w.wantCode(err, backend.ErrNotFound)
}

func finishAtOnce(w *world) {
	for round := range 5 {
		source := w.add()
		run := w.take(source, "o")
		kids := w.spawn(source, "b", true, w.o.Many)
		var finishes atomic.Int32
		many(w, func(i int) bool {
			if i == 0 {
				w.settle(run, backend.StatusSuccess)
			}
			t := w.take(kids[i], fmt.Sprint("o", i))
			w.settle(t, []backend.Status{backend.StatusSuccess, backend.StatusFailed}[i%2])
			f, _, err := w.Store.Finish(w.ctx(), source)
			if err != nil {
				w.Error(err)
			}
			if f {
				finishes.Add(1)
			}
			return f
		})
		if finishes.Load() == 0 {
			w.Fatalf("round %d: not finished", round)
		}
		c := w.get(source).Subtasks
		want := &backend.SubtaskCounts{
			Total: w.o.Many, Succeeded: w.o.Many - w.o.Many/2, Failed: w.o.Many / 2, Finished: c.Finished,
		}
		w.same("counts", c, want)
		w.done(source+"/done", backend.StatusSuccess)
	}
}

func spawnAgainstFinish(w *world) {
	for range 20 {
		source := w.add()
		w.done(source, backend.StatusSuccess)
		w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "first"}))
		gated := w.add(child(source, "second"), in("sub"))
		refused := make(chan error, 1)
		go func() { refused <- w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "second"}) }()
		finished, _, err := w.Store.Finish(w.ctx(), source)
		w.must(err)
		err = <-refused
		if finished == (err == nil) {
			w.Errorf("finished %v, but spawn returned %v", finished, err)
		}
		if err != nil {
			w.wantCode(err, backend.ErrFailedPrecondition)
			w.same("total", w.get(source).Subtasks.Total, 0)
			continue
		}
		w.done(gated, backend.StatusSuccess)
		w.wantFinish(source, true, "q")
		w.same("total", w.get(source).Subtasks.Total, 1)
	}
}

func grandchildren(w *world) {
	source := w.add()
	run := w.take(source, "o")
	kid := w.spawn(source, "b", true, 1)[0]
	kidRun := w.take(kid, "o")
	grandkids := w.spawn(kid, "b", false, 2)
	w.settle(run, backend.StatusSuccess)
	w.settle(kidRun, backend.StatusSuccess)
	w.same("opened", w.open(kid), []string{"sub"})
	w.wantFinish(source, true, "q") // a subtask's own run counts, not its subtasks
	w.wantFinish(kid, false, "")
	for _, g := range grandkids {
		w.done(g, backend.StatusSuccess)
	}
	w.wantFinish(kid, true, "sub")
	w.same("total", w.get(kid).Subtasks.Total, 2)
	w.done(kid+"/done", backend.StatusSuccess)
}
