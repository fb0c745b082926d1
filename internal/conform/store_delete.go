package conform

import (
	"fmt"
	"slices"
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/runtime/backend"
)

var deleteBehaviours = []behaviour{
	{"ended", deleteEnded},                    // a task in each final status, and no other
	{"every_situation", deleteEverySituation}, // tasks that have not ended are not changed
	{"tree", deleteTree},                      // with its tree, once all of it has ended
	{"part_of_tree", deletePart},              // only the root can be deleted
	{"live_trees", deleteLiveTrees},           // nothing that may run is deleted
	{"uncommitted_subtasks", deleteUncommitted},
	{"uncommitted_at_any_depth", deleteUncommittedTree},
	{"large_tree", deleteLarge}, // by one call
	{"unknown_and_repeated", deleteAgain},
	{"keeps_retention", deleteAndPurge},         // other tasks are kept as long as before
	{"unique_key_stays", deleteKeepsKey},        // it belongs to a live task
	{"retries_stay", deleteRetried},             // and the retried task may be deleted before
	{"against_mark_retried", deleteAgainstMark}, // it does not bring the task back
	{"against_spawn", deleteAgainstSpawn},       // a tree is deleted or gets subtasks
	{"against_purge", deleteAgainstPurge},       // and against itself: all succeed
	{"against_insert", deleteAgainstInsert},     // of the same id: the new task is complete
}

func (w *world) delete(id string) {
	w.Helper()
	w.must(w.Store.Delete(w.ctx(), id))
	_, err := w.Store.Get(w.ctx(), id)
	w.wantCode(err, backend.ErrNotFound)
}

func (w *world) wantNotDeletable(ids ...string) {
	w.Helper()
	for _, id := range ids {
		before := w.get(id)
		w.wantCode(w.Store.Delete(w.ctx(), id), backend.ErrFailedPrecondition)
		w.same("the task", w.get(id), before)
	}
}

func deleteEnded(w *world) {
	kept := w.add(in("other"))
	w.done(kept, backend.StatusSuccess)
	for _, to := range []backend.Status{backend.StatusSuccess, backend.StatusFailed, backend.StatusStopped} {
		id := w.add(unique("k"))
		if to == backend.StatusStopped {
			w.stop(id, false)
		} else {
			w.done(id, to)
		}
		w.delete(id)
		w.same("listed", w.left(), []string{kept})
		p, err := w.Store.List(w.ctx(), backend.TaskQuery{Queue: "q"})
		w.must(err)
		w.same("total", p.Total, 0)
		again := w.insert(w.task(func(n *backend.NewTask) { n.Task.ID = id }))[0]
		w.same("its id is free again", again.Status, backend.StatusWaiting)
		w.same("and starts from zero", []int64{int64(again.Attempt), again.Fence}, []int64{0, 0})
		w.stop(id, false)
		w.delete(id)
	}
	got, err := w.Store.Statuses(w.ctx(), []string{kept})
	w.must(err)
	w.same("statuses", len(got), 1)
}

func deleteEverySituation(w *world) {
	for _, s := range situations(w) {
		id := s.bring(w, w.next("queue"), w.next("owner"))
		before := w.get(id)
		err := w.Store.Delete(w.ctx(), id)
		if s.status.Final() {
			w.must(err)
			_, err = w.Store.Get(w.ctx(), id)
			w.wantCode(err, backend.ErrNotFound)
			continue
		}
		w.wantCode(err, backend.ErrFailedPrecondition)
		if d := cmp.Diff(before, w.get(id)); d != "" {
			w.Errorf("%s: refused, and yet it changed something (-before +after):\n%s", s.name, d)
		}
	}
}

func deleteTree(w *world) {
	source := w.add()
	kids := w.spawn(source, "b", true, 2)
	w.done(kids[0], backend.StatusSuccess)
	w.done(source, backend.StatusSuccess)
	w.wantNotDeletable(source) // a subtask is alive
	under := w.take(kids[1], "o")
	grandkid := w.spawn(kids[1], "b", true, 1)[0]
	w.settle(under, backend.StatusSuccess)
	w.wantNotDeletable(source) // and one of its subtasks
	w.done(grandkid, backend.StatusFailed)
	w.wantNotDeletable(source) // the sets are not finished
	w.wantFinish(source, true, "q")
	w.wantFinish(kids[1], true, "sub")
	w.wantNotDeletable(source) // the tasks that run SubtasksDone are alive
	w.done(source+"/done", backend.StatusSuccess)
	w.done(kids[1]+"/done", backend.StatusFailed)
	w.same("all of it", w.left(), sorted(source, kids[0], kids[1], grandkid, source+"/done", kids[1]+"/done"))
	other := w.add()
	w.delete(source)
	w.same("left", w.left(), []string{other})
	unfinished, err := w.Store.Unfinished(w.ctx(), 0, 10)
	w.must(err)
	w.same("unfinished", len(unfinished), 0)
	_, err = w.Store.Open(w.ctx(), source)
	w.must(err)
	w.wantCode(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "b"}), backend.ErrNotFound)
}

func sorted(ids ...string) []string {
	slices.Sort(ids)
	return ids
}

func deletePart(w *world) {
	source := w.add()
	kids := w.spawn(source, "b", true, 2)
	held := w.add(child(source, "held"), id(backend.SubtaskID(source, "held", 0)))
	w.done(source, backend.StatusSuccess)
	w.done(kids[0], backend.StatusSuccess)
	w.stop(kids[1], false)
	w.stop(held, false)
	w.wantFinish(source, true, "q")
	w.done(source+"/done", backend.StatusSuccess)
	w.wantNotDeletable(kids[0], kids[1], held, source+"/done")
	w.delete(source)
	w.same("left", w.left(), []string{})
}

// deleteUncommitted: subtasks that were never committed don't count as live, and are deleted with their source.
func deleteUncommitted(w *world) {
	source := w.add()
	w.done(source, backend.StatusSuccess)
	for i := range 3 {
		w.add(child(source, "b"), id(backend.SubtaskID(source, "b", i)))
	}
	w.delete(source)
	w.same("left", w.left(), []string{})
	w.wantCode(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "b", Count: 3}), backend.ErrNotFound)
	w.must(w.Store.Discard(w.ctx(), source, "b"))
	// The id may be used again, and its subtasks too.
	w.insert(w.task(id(source)))
	w.same("spawned", len(w.spawn(source, "b", true, 3)), 3)
	w.same("all", len(w.left()), 4)
}

func deleteLarge(w *world) {
	const wide = 2500
	source := w.add()
	w.spawn(source, "b", true, wide)
	w.stop(source, false)
	w.wantFinish(source, true, "")
	other := w.add()
	w.delete(source)
	w.same("left", w.left(), []string{other})
}

func deleteAgain(w *world) {
	w.must(w.Store.Delete(w.ctx(), "unknown"))
	id := w.add()
	w.done(id, backend.StatusSuccess)
	w.delete(id)
	w.delete(id)
	_, err := w.Store.MarkRetried(w.ctx(), id, "", "x")
	w.wantCode(err, backend.ErrNotFound)
}

func deleteAndPurge(w *world) {
	var done []string
	for range 4 {
		done = append(done, w.add())
		w.done(done[len(done)-1], backend.StatusSuccess)
		w.o.Sleep(w.o.Tick)
	}
	w.delete(done[1])
	w.same("purged", w.purge(backend.Retention{Max: 3}, 10), 0)
	w.same("purged", w.purge(backend.Retention{Max: 2}, 10), 1)
	w.same("left", w.left(), sorted(done[2], done[3]))
	w.delete(done[3])
	w.o.Sleep(3 * w.o.Tick)
	w.same("purged by age", w.purge(backend.Retention{Age: w.o.Tick}, 10), 1)
	w.same("left", w.left(), []string{})
}

func deleteKeepsKey(w *world) {
	old := w.add(unique("k"))
	w.done(old, backend.StatusSuccess)
	holder := w.add(unique("k"))
	w.delete(old)
	w.same("the live one comes back", w.add(unique("k")), holder)
}

// deleteRetried: a task and the one that retries it are no tree. So is a retry of SubtasksDone.
func deleteRetried(w *world) {
	w.done(w.add(id("old")), backend.StatusFailed)
	_, err := w.Store.MarkRetried(w.ctx(), "old", "", "new")
	w.must(err)
	w.add(id("new"), func(n *backend.NewTask) { n.Task.RetryOf = "old" })
	w.delete("old")
	w.same("the other refers to it", w.get("new").RetryOf, "old")
	w.done("new", backend.StatusSuccess)
	w.delete("new")

	source := w.add(id("source"))
	w.spawn(source, "b", true, 1)
	w.done(source, backend.StatusSuccess)
	w.done("source/b/0", backend.StatusSuccess)
	w.wantFinish(source, true, "q")
	w.done("source/done", backend.StatusFailed)
	w.add(id("again"), func(n *backend.NewTask) { n.Task.DoneOf, n.Task.RetryOf = "source", "source/done" })
	w.wantNotDeletable("again")
	w.done("again", backend.StatusSuccess)
	w.delete("again")
	w.delete(source)
	w.same("left", w.left(), []string{})
}

func deleteAgainstMark(w *world) {
	for i := range 20 {
		id := w.add()
		w.done(id, backend.StatusFailed)
		marked := make(chan error, 1)
		go func() {
			_, err := w.Store.MarkRetried(w.ctx(), id, "", fmt.Sprint("retry", i))
			marked <- err
		}()
		w.must(w.Store.Delete(w.ctx(), id))
		if err := <-marked; err != nil {
			w.wantCode(err, backend.ErrNotFound)
		}
		w.same("left", w.left(), []string{})
	}
}

// deleteAgainstSpawn: a task that has succeeded without subtasks may get its first ones at any time.
func deleteAgainstSpawn(w *world) {
	for range 20 {
		source := w.add()
		w.done(source, backend.StatusSuccess)
		kid := w.add(child(source, "b"), id(backend.SubtaskID(source, "b", 0)))
		spawned := make(chan error, 1)
		go func() {
			spawned <- w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "b", Now: true, Count: 1})
		}()
		err := w.Store.Delete(w.ctx(), source)
		switch errSpawn := <-spawned; {
		case errSpawn == nil:
			w.wantCode(err, backend.ErrFailedPrecondition)
			w.same("left", w.left(), sorted(source, kid))
			w.done(kid, backend.StatusSuccess)
			w.wantFinish(source, true, "q")
			w.done(source+"/done", backend.StatusSuccess)
			w.delete(source)
		default:
			if code := backend.CodeOf(errSpawn); code != backend.ErrNotFound && code != backend.ErrAborted &&
				code != backend.ErrFailedPrecondition {
				w.Errorf("spawn: %v", errSpawn)
			}
			if err != nil { // a store may refuse both, and then neither has an effect
				w.wantCode(err, backend.ErrFailedPrecondition)
				w.must(w.Store.Discard(w.ctx(), source, "b"))
				w.delete(source)
			}
		}
		w.same("left", w.left(), []string{})
	}
}

func deleteAgainstPurge(w *world) {
	for range 5 {
		source := w.add()
		w.spawn(source, "b", true, 20)
		w.stop(source, false)
		w.wantFinish(source, true, "")
		w.o.Sleep(3 * w.o.Tick)
		for _, err := range many(w, func(i int) error {
			if i%2 == 0 {
				_, err := w.Store.Purge(w.ctx(), backend.Retention{Age: w.o.Tick}, 5)
				return err
			}
			return w.Store.Delete(w.ctx(), source)
		}) {
			w.must(err)
		}
		w.same("left", w.left(), []string{})
	}
}

func deleteAgainstInsert(w *world) {
	for range 20 {
		name := w.add(unique("k"))
		w.done(name, backend.StatusFailed)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := w.Store.Insert(w.ctx(), []backend.NewTask{w.task(id(name), unique("k"))}); err != nil {
				w.Error(err)
			}
		})
		err := w.Store.Delete(w.ctx(), name)
		wg.Wait()
		if err != nil {
			w.wantCode(err, backend.ErrFailedPrecondition)
		}
		stored, err := w.Store.Insert(w.ctx(), []backend.NewTask{w.task(id(name), unique("k"))})
		w.must(err)
		w.same("inserted", stored[0].ID, name)
		w.same("status", stored[0].Status, backend.StatusWaiting)
		w.done(name, backend.StatusSuccess)
		w.delete(name)
	}
}
