package conform

import (
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var purgeBehaviours = []behaviour{
	{"age", purgeAge},           // tasks that ended long ago are deleted
	{"max", purgeMax},           // what is too many in a queue is deleted, the oldest first
	{"batches", purgeBatches},   // no more are deleted than asked
	{"families", purgeFamilies}, // a source and its subtasks are deleted together
	{"living_family_stays", func(w *world) { // a family that lives again does not count
		source := w.add()
		w.done(source, backend.StatusSuccess)
		w.done(w.add(), backend.StatusSuccess)
		w.spawn(source, "b", true, 1)
		w.same("purged", w.purge(backend.Retention{Max: 1}, 10), 0)
	}},
	{"living_families_block_none", purgeBehindLiving},
	{"against_spawn", purgeAgainstSpawn}, // a subtask gets subtasks while its family is deleted
	{"done_retry_alone", func(w *world) { // a retry of SubtasksDone has no family
		w.done(w.add(func(n *backend.NewTask) { n.Task.DoneOf, n.Task.RetryOf = "source", "source/done" }),
			backend.StatusSuccess)
		w.o.Sleep(3 * w.o.Tick)
		w.same("purged", w.purge(backend.Retention{Age: w.o.Tick}, 10), 1)
	}},
	{"unique_key_stays", func(w *world) { // a deleted task leaves its unique key to the task that has it now
		w.done(w.add(unique("k")), backend.StatusSuccess)
		holder := w.add(unique("k"))
		w.o.Sleep(3 * w.o.Tick)
		w.same("purged", w.purge(backend.Retention{Age: w.o.Tick}, 10), 1)
		w.same("the live one comes back", w.add(unique("k")), holder)
	}},
	{"before", purgeBefore}, // what has ended later is kept, whatever the limits are
	{"no_limits", func(w *world) { // nothing is deleted
		w.done(w.add(), backend.StatusSuccess)
		w.same("purged", w.purge(backend.Retention{}, 10), 0)
	}},
}

func (w *world) purge(r backend.Retention, max int) int {
	w.Helper()
	n, err := w.Store.Purge(w.ctx(), r, max)
	w.must(err)
	return n
}

func (w *world) left() []string {
	got := ids(w.list(backend.TaskQuery{}))
	slices.Sort(got)
	return got
}

func purgeAge(w *world) {
	old := w.add()
	w.done(old, backend.StatusSuccess)
	stopped := w.add()
	w.stop(stopped, false)
	w.add(id("waiting"))
	w.take(w.add(id("running")), "o")
	w.same("too young", w.purge(backend.Retention{Age: time.Hour}, 10), 0)
	w.o.Sleep(3 * w.o.Tick)
	w.done(w.add(id("young")), backend.StatusFailed)
	w.same("purged", w.purge(backend.Retention{Age: 2 * w.o.Tick}, 10), 2)
	w.same("left", w.left(), []string{"running", "waiting", "young"})
	_, err := w.Store.Get(w.ctx(), old)
	w.wantCode(err, backend.ErrNotFound)
	w.same("its id is free again", w.insert(w.task(id(old)))[0].Status, backend.StatusWaiting)
}

func purgeBefore(w *world) {
	first := w.add()
	w.done(first, backend.StatusSuccess)
	w.o.Sleep(3 * w.o.Tick)
	later, last := w.add(), w.add()
	w.done(later, backend.StatusSuccess)
	w.o.Sleep(3 * w.o.Tick)
	w.done(last, backend.StatusSuccess)
	w.o.Sleep(3 * w.o.Tick)
	ended := func(id string) time.Time {
		w.Helper()
		t, err := w.Store.Get(w.ctx(), id)
		w.must(err)
		return t.Ended
	}
	all := ids(w.list(backend.TaskQuery{}))
	slices.Sort(all)
	age, max := backend.Retention{Age: w.o.Tick, Before: ended(first)}, backend.Retention{Max: 1, Before: ended(first)}
	w.same("purged by age", w.purge(age, 10), 0)
	w.same("purged by number", w.purge(max, 10), 0)
	w.same("left", w.left(), all)
	age.Before, max.Before = ended(later), ended(last)
	w.same("the first purged by age", w.purge(age, 10), 1)
	w.same("another purged by number", w.purge(max, 10), 1)
	w.same("the last is left", w.left(), []string{last})
}

// purgeAgainstSpawn: a subtask that has succeeded without subtasks may get its first ones at any time. Even if parts
// of its family have been deleted, neither they nor their ancestors are deleted while they live, and committed ones
// exist.
func purgeAgainstSpawn(w *world) {
	age := backend.Retention{Age: w.o.Tick}
	for i := range 8 {
		deleted, between := i%4, i/4 // of the family's five: before the insert, and between insert and commit
		source := w.add()
		kids := w.spawn(source, "b", true, 3)
		for _, kid := range append(kids, source) {
			w.done(kid, backend.StatusSuccess)
		}
		w.wantFinish(source, true, "q")
		w.done(source+"/done", backend.StatusSuccess)
		w.o.Sleep(3 * w.o.Tick)
		if deleted > 0 {
			w.same("purged", w.purge(age, deleted), deleted)
		}
		for _, kid := range kids {
			if _, err := w.Store.Get(w.ctx(), kid); err != nil {
				continue
			}
			grandkid := w.add(child(kid, "late"))
			w.o.Sleep(3 * w.o.Tick)
			if between > 0 {
				w.purge(age, between)
			}
			err := w.Store.Spawn(w.ctx(), backend.Spawn{Source: kid, Batch: "late", Now: true})
			switch code := backend.CodeOf(err); {
			case err == nil:
			case code == backend.ErrFailedPrecondition, code == backend.ErrNotFound, code == backend.ErrAborted:
				w.must(w.Store.Discard(w.ctx(), kid, "late"))
				continue
			default:
				w.Fatal(err)
			}
			for range 10 {
				w.purge(age, 100)
			}
			for _, id := range []string{source, kid, grandkid} {
				w.get(id)
			}
			w.done(grandkid, backend.StatusSuccess)
			w.wantFinish(kid, true, "sub")
			w.done(kid+"/done", backend.StatusSuccess)
			break
		}
		w.o.Sleep(3 * w.o.Tick)
		for range 10 {
			w.purge(age, 100)
		}
		w.same("left", w.left(), []string{})
	}
}

// purgeBehindLiving: more old families are alive than a call may delete. Families behind them are deleted all the
// same, by age and by number, and in other queues.
func purgeBehindLiving(w *world) {
	living := []string{}
	for i := range 6 {
		source := w.add()
		kids := w.spawn(source, "b", true, 1)
		w.done(source, backend.StatusSuccess)
		if i%2 == 0 { // its SubtasksDone is alive
			w.done(kids[0], backend.StatusSuccess)
			w.wantFinish(source, true, "q")
			living = append(living, source, kids[0], source+"/done")
			continue
		}
		under := w.take(kids[0], "o") // a subtask of its subtask is alive
		grandkid := w.spawn(kids[0], "b", true, 1)[0]
		w.settle(under, backend.StatusSuccess)
		w.wantFinish(source, true, "q")
		w.done(source+"/done", backend.StatusSuccess)
		living = append(living, source, kids[0], source+"/done", grandkid)
	}
	slices.Sort(living)
	behind := func() {
		w.done(w.add(), backend.StatusSuccess)
		w.done(w.add(), backend.StatusSuccess)
		w.done(w.add(in("z")), backend.StatusSuccess)
		w.o.Sleep(3 * w.o.Tick)
	}
	behind()
	for _, want := range []int{2, 1, 0, 0} {
		w.same("purged by age", w.purge(backend.Retention{Age: w.o.Tick}, 2), want)
	}
	w.same("left", w.left(), living)
	behind()
	w.done(w.add(in("z")), backend.StatusSuccess)
	for range 3 {
		w.purge(backend.Retention{Max: 1}, 1)
	}
	w.same("left by number", len(w.left()), len(living)+2)
}

func purgeMax(w *world) {
	var done []string
	for range 6 {
		done = append(done, w.add())
		w.done(done[len(done)-1], backend.StatusSuccess)
		w.o.Sleep(w.o.Tick)
	}
	other := w.add(in("other"))
	w.done(other, backend.StatusSuccess)
	w.add(id("waiting"))
	w.same("purged", w.purge(backend.Retention{Max: 2}, 10), 4)
	want := []string{done[4], done[5], other, "waiting"}
	slices.Sort(want)
	w.same("left", w.left(), want)
	w.same("purged again", w.purge(backend.Retention{Max: 2}, 10), 0)
}

func purgeBatches(w *world) {
	for range 10 {
		w.done(w.add(), backend.StatusSuccess)
	}
	w.o.Sleep(2 * w.o.Tick)
	for _, want := range []int{4, 4, 2, 0} {
		w.same("purged", w.purge(backend.Retention{Age: w.o.Tick}, 4), want)
	}
}

func purgeFamilies(w *world) {
	age := backend.Retention{Age: w.o.Tick}
	all := func(n int) {
		w.Helper()
		w.o.Sleep(3 * w.o.Tick)
		w.same("purged", w.purge(age, 100), n)
	}
	source := w.add()
	kids := w.spawn(source, "b", true, 2)
	w.done(kids[0], backend.StatusSuccess)
	w.done(source, backend.StatusSuccess)
	all(0) // a subtask is alive
	under := w.take(kids[1], "o")
	grandkid := w.spawn(kids[1], "b", true, 1)[0]
	w.settle(under, backend.StatusSuccess)
	all(0) // and one of its subtasks
	w.done(grandkid, backend.StatusSuccess)
	all(0) // the sets are not finished
	w.wantFinish(source, true, "q")
	w.wantFinish(kids[1], true, "sub")
	all(0) // the tasks that run SubtasksDone are alive
	w.done(source+"/done", backend.StatusSuccess)
	w.done(kids[1]+"/done", backend.StatusFailed)
	w.same("too young as a whole", w.purge(backend.Retention{Age: time.Hour}, 100), 0)
	all(6)
	w.same("left", w.left(), []string{})

	// A family larger than a batch is deleted eventually, its source not before its subtasks.
	source = w.add()
	w.spawn(source, "b", true, 9)
	w.stop(source, false)
	w.wantFinish(source, true, "")
	w.o.Sleep(3 * w.o.Tick)
	for n := 0; n < 10; {
		got := w.purge(age, 3)
		if n += got; got == 0 || n > 10 {
			w.Fatalf("purged %d of 10 tasks", n)
		}
		if left := w.left(); len(left) != 10-n || len(left) > 0 && left[0] != source && !slices.Contains(left, source) {
			w.Fatalf("left %v", left)
		}
	}
}
