package conform

import (
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/runtime/backend"
)

// liveTrees lists the ways in which a tree may not have ended although its root has. Each builds such a tree under a
// task that is waiting in queue "q", and returns what ends the tree.
var liveTrees = []struct {
	name  string
	build func(w *world, root string) (end func())
}{
	{"waiting", func(w *world, root string) func() {
		kid := w.spawn(root, "b", true, 2)
		w.done(kid[0], backend.StatusSuccess)
		w.done(root, backend.StatusSuccess)
		return func() { w.done(kid[1], backend.StatusFailed); w.finishTree(root) }
	}},
	{"not_due", func(w *world, root string) func() {
		kid := w.spawn(root, "b", true, 1)[0]
		t := w.take(kid, "o")
		w.wantSettled(backend.Settle{ID: kid, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying, Delay: w.o.Tick},
			backend.SettledApplied)
		w.done(root, backend.StatusSuccess)
		return func() { w.stop(kid, false); w.finishTree(root) }
	}},
	{"running", func(w *world, root string) func() {
		kid := w.take(w.spawn(root, "b", true, 1)[0], "o")
		w.done(root, backend.StatusSuccess)
		return func() { w.settle(kid, backend.StatusSuccess); w.finishTree(root) }
	}},
	{"running_and_asked_to_stop", func(w *world, root string) func() {
		kid := w.take(w.spawn(root, "b", true, 1)[0], "o")
		w.stop(root, false)
		return func() { w.settle(kid, backend.StatusStopped); w.finishTree(root) }
	}},
	{"gated", func(w *world, root string) func() {
		kid := w.spawn(root, "b", false, 1)[0]
		w.done(root, backend.StatusSuccess)
		return func() { w.open(root); w.done(kid, backend.StatusSuccess); w.finishTree(root) }
	}},
	{"gated_under_a_failed_root", func(w *world, root string) func() {
		w.spawn(root, "b", false, 1)
		w.done(root, backend.StatusFailed)
		return func() { w.stop(root, true); w.finishTree(root) }
	}},
	{"grandchild_under_a_task_that_has_ended", func(w *world, root string) func() {
		kid := w.spawn(root, "b", true, 1)[0]
		grandkid := w.spawn(kid, "b", true, 1)[0]
		w.done(kid, backend.StatusSuccess)
		w.done(root, backend.StatusSuccess)
		w.wantFinish(root, true, "q") // its own subtasks have ended
		w.done(root+"/done", backend.StatusSuccess)
		return func() { w.done(grandkid, backend.StatusSuccess); w.finishTree(kid) }
	}},
	{"set_not_finished", func(w *world, root string) func() {
		w.done(w.spawn(root, "b", true, 1)[0], backend.StatusSuccess)
		w.done(root, backend.StatusSuccess)
		return func() { w.finishTree(root) }
	}},
	{"set_of_a_subtask_not_finished", func(w *world, root string) func() {
		kid := w.spawn(root, "b", true, 1)[0]
		w.done(w.spawn(kid, "b", true, 1)[0], backend.StatusSuccess)
		w.done(kid, backend.StatusSuccess)
		w.done(root, backend.StatusSuccess)
		w.finishTree(root)
		return func() { w.finishTree(kid) }
	}},
	{"done_waits", func(w *world, root string) func() {
		w.done(w.spawn(root, "b", true, 1)[0], backend.StatusSuccess)
		w.done(root, backend.StatusSuccess)
		w.wantFinish(root, true, "q")
		return func() { w.done(root+"/done", backend.StatusFailed) }
	}},
	{"done_runs", func(w *world, root string) func() {
		w.done(w.spawn(root, "b", true, 1)[0], backend.StatusSuccess)
		w.done(root, backend.StatusSuccess)
		w.wantFinish(root, true, "q")
		done := w.take(root+"/done", "o")
		return func() { w.settle(done, backend.StatusSuccess) }
	}},
	{"done_of_a_subtask_waits", func(w *world, root string) func() {
		kid := w.spawn(root, "b", true, 1)[0]
		w.done(w.spawn(kid, "b", true, 1)[0], backend.StatusSuccess)
		w.done(kid, backend.StatusSuccess)
		w.done(root, backend.StatusSuccess)
		w.finishTree(root)
		w.wantFinish(kid, true, "sub")
		return func() { w.done(kid+"/done", backend.StatusSuccess) }
	}},
	{"subtask_of_done", func(w *world, root string) func() {
		w.done(w.spawn(root, "b", true, 1)[0], backend.StatusSuccess)
		w.done(root, backend.StatusSuccess)
		w.wantFinish(root, true, "q")
		kid := w.spawn(root+"/done", "b", true, 1)[0]
		w.done(root+"/done", backend.StatusSuccess)
		return func() { w.done(kid, backend.StatusSuccess); w.finishTree(root + "/done") }
	}},
}

// finishTree finishes the set of a source whose subtasks have ended, and runs its SubtasksDone if there is one.
func (w *world) finishTree(source string) {
	w.Helper()
	finished, queue, err := w.Store.Finish(w.ctx(), source)
	w.must(err)
	w.same("finished "+source, finished, true)
	if queue != "" {
		w.done(source+"/done", backend.StatusSuccess)
	}
}

// deleteLiveTrees: a tree in which anything may still run is neither deleted nor purged, and not changed. Once it has
// ended, nothing of it is left, and nothing else is missing.
func deleteLiveTrees(w *world) {
	other := w.add(in("other"))
	for _, tree := range liveTrees {
		root := w.add()
		end := tree.build(w, root)
		// Uncommitted subtasks, which never run, make no difference.
		w.add(child(root, "held"), id(backend.SubtaskID(root, "held", 0)), in("sub"))
		before := w.everything()
		w.wantCode(w.Store.Delete(w.ctx(), root), backend.ErrFailedPrecondition)
		w.o.Sleep(3 * w.o.Tick)
		w.same(tree.name+": purged", w.purge(backend.Retention{Age: w.o.Tick}, 100), 0)
		if d := cmp.Diff(before, w.everything()); d != "" {
			w.Errorf("%s: refused, and yet it changed something (-before +after):\n%s", tree.name, d)
		}
		end()
		w.delete(root)
		w.same(tree.name+": left", w.left(), []string{other})
		w.wantNothingUnfinished(tree.name)
	}
}

// everything returns all tasks, by id.
func (w *world) everything() (all []backend.Task) {
	w.Helper()
	for _, id := range w.left() {
		all = append(all, w.get(id))
	}
	return all
}

// wantNothingUnfinished checks that a deleted tree left no work behind, and that only queue "other" has live tasks.
func (w *world) wantNothingUnfinished(what string) {
	w.Helper()
	unfinished, err := w.Store.Unfinished(w.ctx(), 0, 10)
	w.must(err)
	w.same(what+": unfinished", len(unfinished), 0)
	queues, err := w.Store.Queues(w.ctx())
	w.must(err)
	for _, q := range queues {
		for status, n := range q.Counts {
			if !status.Final() && n.N > 0 && q.Queue != "other" {
				w.Errorf("%s: queue %q counts %d tasks that are %s", what, q.Queue, n.N, status)
			}
		}
	}
}

// uncommittedTree adds subtasks of which no batch was committed, at several depths, under a task that has ended and
// whose other subtasks have, too. The interrupted inserts of those below others came from attempts of deleted tasks
// with the same id. It returns all uncommitted ones.
func uncommittedTree(w *world, root string) (held []string) {
	kids := w.spawn(root, "b", true, 2)
	w.done(w.spawn(kids[0], "b", true, 1)[0], backend.StatusSuccess)
	for _, id := range append(kids, root) {
		w.done(id, backend.StatusSuccess)
	}
	w.finishTree(root)
	w.finishTree(kids[0])
	hold := func(source string, n int) (added []string) {
		for i := range n {
			added = append(added, w.add(child(source, "held"), id(backend.SubtaskID(source, "held", i)), in("sub")))
		}
		held = append(held, added...)
		return added
	}
	under := hold(root, 2)
	hold(kids[0], 1)
	hold(kids[1], 2) // without a set
	hold(root+"/done", 1)
	hold(hold(under[0], 2)[1], 1)
	w.stop(under[1], false)
	return held
}

// deleteUncommittedTree: uncommitted subtasks go with their tree, however deep they are, by Delete and by Purge.
func deleteUncommittedTree(w *world) {
	for _, way := range []struct {
		name string
		gone func(root string, tasks int)
	}{
		{"delete", func(root string, _ int) { w.delete(root) }},
		{"purge", func(_ string, tasks int) {
			w.same("purged", w.purge(backend.Retention{Age: w.o.Tick}, 100), tasks)
		}},
		{"purge in parts", func(_ string, tasks int) {
			n := 0
			for range 2 * tasks {
				n += w.purge(backend.Retention{Age: w.o.Tick}, 2)
			}
			w.same("purged in parts", n, tasks)
		}},
	} {
		for _, alone := range []bool{false, true} {
			root := w.add()
			var held []string
			if alone {
				w.done(root, backend.StatusSuccess)
				held = []string{w.add(child(root, "held"), id(root+"/held/0"), in("sub"))}
				held = append(held, w.add(child(held[0], "held"), id(held[0]+"/held/0"), in("sub")))
			} else {
				held = uncommittedTree(w, root)
			}
			w.o.Sleep(3 * w.o.Tick)
			all := w.left()
			w.same("all", len(all) > len(held), true)
			way.gone(root, len(all))
			w.same(way.name+": left", w.left(), []string{})
			w.wantNothingUnfinished(way.name)
			for _, id := range all {
				w.wantCode(w.Store.Spawn(w.ctx(), backend.Spawn{Source: id, Batch: "held"}), backend.ErrNotFound)
			}
		}
	}
}

// spawnUncommitted: a subtask takes subtasks once its own batch is committed. Else they could run in a tree that is
// deleted.
func spawnUncommitted(w *world) {
	root := w.add()
	kid := w.add(child(root, "b"), id(backend.SubtaskID(root, "b", 0)), in("sub"))
	grandkid := w.add(child(kid, "b"), id(backend.SubtaskID(kid, "b", 0)), in("sub"))
	sp := backend.Spawn{Source: kid, Batch: "b", Now: true, Count: 1}
	for _, refused := range []backend.Spawn{sp, {Source: kid, Batch: "b"}, {Source: kid, Batch: "none"}} {
		w.wantCode(w.Store.Spawn(w.ctx(), refused), backend.ErrFailedPrecondition)
	}
	sp.Fence = 1
	w.wantCode(w.Store.Spawn(w.ctx(), sp), backend.ErrAborted) // such an attempt is none of this task
	w.same("spawned", w.get(kid).Spawned, false)
	w.same("uncommitted", w.get(grandkid).Uncommitted, true)
	w.wantClaimed("sub")

	w.must(w.commit(root, "b", 1))
	w.must(w.commit(kid, "b", 1))
	w.wantClaimed("sub", kid, grandkid)

	// Discarding a source forgets which of its batches were discarded: a new task may have the same id.
	source := w.add(child(root, "c"), id(backend.SubtaskID(root, "c", 0)), in("sub"))
	w.add(child(source, "b"), id(backend.SubtaskID(source, "b", 0)), in("sub"))
	kept := w.add(child(source, "kept"), id(backend.SubtaskID(source, "kept", 0)), in("sub"))
	w.must(w.Store.Discard(w.ctx(), source, "b"))
	w.must(w.Store.Discard(w.ctx(), root, "c"))
	w.same("left of them", slices.Contains(w.left(), kept), true)
	w.wantUnfinishedBatch(source, "kept")
	w.add(child(root, "c"), id(source), in("sub"))
	w.must(w.commit(root, "c", 1))
	w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "b"}))
	w.must(w.commit(source, "kept", 1))
}
