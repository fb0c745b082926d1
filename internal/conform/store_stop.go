package conform

import (
	"fmt"
	"slices"

	"github.com/afgen/afgen/runtime/backend"
)

var stopBehaviours = []behaviour{
	{"waiting", stopWaiting}, // a waiting task is stopped at once, and keeps the reason
	{"again", stopAgain},     // stopping twice, or an ended task, is harmless
	{"unknown_task", func(w *world) { // it is not found
		_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: "unknown"})
		w.wantCode(err, backend.ErrNotFound)
	}},
	{"tree", stopTree},                  // a task and all of its descendants are stopped
	{"below", stopBelow},                // only descendants are stopped
	{"wide_set", stopWide},              // it is stopped as a whole
	{"parts", stopInParts},              // stopped tasks are passed on in batches
	{"against_claim", stopAgainstClaim}, // one of the two wins
}

func (w *world) stop(id string, below bool) []string {
	w.Helper()
	tasks, err := w.Store.Stop(w.ctx(), backend.Stop{ID: id, Reason: "enough", Below: below})
	w.must(err)
	for _, t := range tasks {
		stored := w.get(t.ID)
		w.same("returned unchanged", t, stored.Head())
	}
	got := ids(tasks)
	slices.Sort(got)
	return got
}

func stopWaiting(w *world) {
	name := w.add(unique("k"))
	before := w.get(name)
	w.same("stopped", w.stop(name, false), []string{name})
	want := before
	want.Status, want.Ended = backend.StatusStopped, w.get(name).Ended
	want.Error = &backend.TaskError{Code: backend.ErrAborted, Message: "enough"}
	w.same("the task", w.get(name), want)
	if want.Ended.IsZero() {
		w.Error("no end")
	}
	if w.add(unique("k")) == name {
		w.Error("its unique key is not free")
	}
	unnamed := w.add()
	_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: unnamed})
	w.must(err)
	if e := w.get(unnamed).Error; e == nil || e.Code != backend.ErrAborted {
		w.Errorf("stopped without a reason: %v", e)
	}
}

func stopAgain(w *world) {
	name := w.add()
	w.stop(name, false)
	before := w.get(name)
	w.same("again", w.stop(name, false), []string{})
	w.same("the task", w.get(name), before)
	running := w.take(w.add(), "o")
	w.stop(running.ID, false)
	_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: running.ID, Reason: "another"})
	w.must(err)
	running.Stopping = true
	w.same("asked twice", w.get(running.ID), running)
	w.settle(running, backend.StatusStopped)
	w.same("the first reason counts", w.get(running.ID).Error.Message, "enough")
}

// tree makes a source that has succeeded, with subtasks that wait, run, have ended, and have ended with a waiting
// subtask. It returns the live tasks under the source.
func (w *world) tree() (source string, waiting, running, under string) {
	source = w.add()
	run := w.take(source, "o")
	kids := w.spawn(source, "b", true, 4)
	w.take(kids[1], "o")
	w.done(kids[2], backend.StatusSuccess)
	last := w.take(kids[3], "o")
	under = w.spawn(kids[3], "b", true, 1)[0]
	w.settle(last, backend.StatusSuccess)
	w.settle(run, backend.StatusRetrying)
	return source, kids[0], kids[1], under
}

func stopTree(w *world) {
	source, waiting, running, under := w.tree()
	want := []string{source, waiting, running, under}
	slices.Sort(want)
	w.same("stopped", w.stop(source, false), want)
	w.wantStatus(backend.StatusStopped, source, waiting, under)
	w.settle(w.get(running), backend.StatusStopped)
	w.wantFinish(source, true, "")
	w.same("stopped of the set", w.get(source).Subtasks.Stopped, 2)
}

func stopBelow(w *world) {
	source, waiting, running, under := w.tree()
	want := []string{waiting, running, under}
	slices.Sort(want)
	w.same("stopped", w.stop(source, true), want)
	w.wantStatus(backend.StatusRetrying, source)
	w.wantStatus(backend.StatusStopped, waiting, under)
	w.done(source, backend.StatusSuccess)
	w.wantFinish(source, false, "")
	w.settle(w.get(running), backend.StatusStopped)
	w.wantFinish(source, true, "q")
}

func stopWide(w *world) {
	const wide = 3000
	source := w.add()
	for i := range 3 {
		w.spawn(source, fmt.Sprint(i), true, wide/3)
	}
	got, err := w.Store.Stop(w.ctx(), backend.Stop{ID: source})
	w.must(err)
	w.same("stopped", len(got), wide+1)
	w.wantFinish(source, true, "")
	w.same("stopped of the set", w.get(source).Subtasks.Stopped, wide)
}

func stopInParts(w *world) {
	const wide = 2500
	for _, below := range []bool{false, true} {
		source := w.add()
		want := append(w.spawn(source, "b", true, wide), source)
		if below {
			want = want[:wide]
		}
		var got []string
		most, returned := 0, false
		rest, err := w.Store.Stop(w.ctx(), backend.Stop{ID: source, Below: below, Each: func(tasks []backend.Task) {
			if returned {
				w.Error("called after its end")
			}
			most = max(most, len(tasks))
			got = append(got, ids(tasks)...)
		}})
		returned = true
		w.must(err)
		slices.Sort(want)
		slices.Sort(got)
		w.same("stopped", got, want)
		w.same("returned too", len(rest), 0)
		if most > wide/2 {
			w.Errorf("%d tasks at once", most)
		}
	}
}

func stopAgainstClaim(w *world) {
	for range 20 {
		name := w.add()
		stopped := make(chan []backend.Task, 1)
		go func() {
			tasks, err := w.Store.Stop(w.ctx(), backend.Stop{ID: name})
			if err != nil {
				w.Error(err)
			}
			stopped <- tasks
		}()
		claimed := w.claim("q", "o", 1)
		if got := <-stopped; len(got) != 1 {
			w.Fatalf("stopped %v", ids(got))
		}
		if len(claimed) == 0 {
			w.wantStatus(backend.StatusStopped, name)
			continue
		}
		owned, err := w.Store.Owned(w.ctx(), "o")
		w.must(err)
		w.same("owned", owned, []backend.Owned{{ID: name, Queue: "q", Fence: 1, Stopping: true}})
		w.settle(claimed[0], backend.StatusStopped)
	}
}
