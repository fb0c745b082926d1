package conform

import (
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var unfinishedBehaviours = []behaviour{
	{"uncommitted_batch", func(w *world) {
		source := w.add()
		w.add(child(source, "b"))
		w.wantUnfinishedBatch(source, "b")
		w.must(w.Store.Discard(w.ctx(), source, "b"))
		w.wantUnfinished()
		w.add(child("unknown", "b"))
		w.wantUnfinishedBatch("unknown", "b")
	}},
	{"batch_age", func(w *world) { // a batch is as old as its last insert
		// The tick is long, so that a slow machine's delay doesn't look like an insert.
		age := backend.BatchAges * w.o.Tick
		source := w.add()
		old, young := w.task(child(source, "b")), w.task(child(source, "b"))
		w.insert(old)
		w.o.Sleep(age)
		begun := w.o.Now()
		for _, more := range []backend.NewTask{young, young, old} {
			w.insert(more)
			w.o.Sleep(age / 2)
			unfinished, err := w.Store.Unfinished(w.ctx(), w.o.Tick, 10)
			w.must(err)
			if took := w.o.Now().Sub(begun); took < age {
				w.same("unfinished though it was added to", len(unfinished), 0)
			}
			begun = w.o.Now()
		}
		w.o.Sleep(age)
		w.wantUnfinishedBatch(source, "b")
	}},
	{"closed_gate", func(w *world) { // its source has succeeded
		source := w.add()
		w.spawn(source, "b", false, 2)
		w.wantUnfinished()
		w.done(source, backend.StatusSuccess)
		w.wantUnfinished(backend.Unfinished{What: backend.UnfinishedGate, Source: source})
		w.open(source)
		w.wantUnfinished()
	}},
	{"unfinished_set", func(w *world) {
		source := w.add()
		kids := w.spawn(source, "b", true, 2)
		w.done(kids[0], backend.StatusSuccess)
		w.done(kids[1], backend.StatusSuccess)
		w.wantUnfinished()
		w.done(source, backend.StatusSuccess)
		w.wantUnfinished(backend.Unfinished{What: backend.UnfinishedSet, Source: source})
		w.wantFinish(source, true, "q")
		w.wantUnfinished()
	}},
	{"subtasks_of_failed_source", func(w *world) {
		source := w.add()
		run := w.take(source, "o")
		kids := w.spawn(source, "b", true, 3)
		running := w.take(kids[0], "o")
		w.settle(run, backend.StatusFailed)
		w.wantUnfinished(backend.Unfinished{What: backend.UnfinishedSubtasks, Source: source})
		w.stop(source, true)
		w.settle(running, backend.StatusStopped)
		w.wantUnfinished(backend.Unfinished{What: backend.UnfinishedSet, Source: source})
		w.wantFinish(source, true, "")
		w.wantUnfinished()
	}},
	{"stopping", func(w *world) { // tasks that were asked to stop are not unfinished; others are
		source := w.add()
		kids := w.spawn(source, "b", true, 3)
		first, second := w.take(kids[0], "o"), w.take(kids[1], "o")
		w.done(source, backend.StatusFailed)
		w.stop(kids[0], false)
		w.settle(first, backend.StatusStopped)
		w.stop(kids[2], false)
		w.wantUnfinished(backend.Unfinished{What: backend.UnfinishedSubtasks, Source: source})
		w.stop(kids[1], false)
		w.wantUnfinished()
		w.settle(second, backend.StatusStopped)
		w.wantUnfinished(backend.Unfinished{What: backend.UnfinishedSet, Source: source})
	}},
	{"siblings_of_failed", func(w *world) { // they are found if the failure policy stops them
		for _, policy := range []backend.FailurePolicy{"", backend.IgnoreFailures,
			backend.CollectFailures, backend.FailFast} {
			source := w.add()
			kids := w.spawn(source, "b", true, 2, onFailure(policy))
			w.done(kids[0], backend.StatusFailed)
			if policy != backend.FailFast {
				w.wantUnfinished()
				continue
			}
			w.wantUnfinished(backend.Unfinished{What: backend.UnfinishedSubtasks, Source: source})
			w.stop(source, true)
			w.wantUnfinished()
		}
	}},
	{"siblings_of_several", func(w *world) { // they are as old as the first failure
		source := w.add()
		kids := w.spawn(source, "b", true, 3, onFailure(backend.FailFast))
		w.done(kids[0], backend.StatusFailed)
		w.o.Sleep(unfinishedAge(w))
		w.done(kids[1], backend.StatusFailed)
		got, err := w.Store.Unfinished(w.ctx(), 2*w.o.Tick, 10)
		w.must(err)
		w.same("unfinished", got, []backend.Unfinished{{What: backend.UnfinishedSubtasks, Source: source}})
	}},
	{"past_deadline", func(w *world) { // queues with a waiting task past its deadline are found
		running := w.take(w.add(w.deadline(4*w.o.Tick), in("runs")), "o")
		w.add(w.deadline(time.Hour), in("later"))
		first := w.add(w.deadline(2*w.o.Tick), in("late"))
		w.add(w.deadline(3*w.o.Tick), in("late"))
		w.add(w.deadline(3*w.o.Tick), in("gated"), child(w.add(in("sources")), "b"))
		w.wantUnfinishedIn("late", "gated")
		_, failed, _, err := w.Store.Promote(w.ctx(), "late", 0)
		w.must(err)
		w.same("failed", len(failed), 2)
		w.same("the first", w.get(first).Status, backend.StatusFailed)
		w.wantUnfinishedIn("gated")
		w.settle(running, backend.StatusRetrying)
		w.wantUnfinishedIn("gated", "runs")
		for _, q := range []string{"gated", "runs"} {
			_, _, _, err = w.Store.Promote(w.ctx(), q, 0)
			w.must(err)
		}
		w.wantUnfinishedIn()
	}},
	{"oldest_first", func(w *world) { // no more are returned than requested
		var sources []string
		for range 4 {
			source := w.add()
			w.spawn(source, "b", false, 1)
			w.done(source, backend.StatusSuccess)
			sources = append(sources, source)
			w.o.Sleep(w.o.Tick)
		}
		w.o.Sleep(unfinishedAge(w))
		got, err := w.Store.Unfinished(w.ctx(), 0, 2)
		w.must(err)
		w.same("two", got, []backend.Unfinished{
			{What: backend.UnfinishedGate, Source: sources[0]}, {What: backend.UnfinishedGate, Source: sources[1]},
		})
	}},
}

func unfinishedAge(w *world) time.Duration { return 3 * w.o.Tick }

// wantUnfinishedIn checks which queues have a waiting task past its deadline.
func (w *world) wantUnfinishedIn(want ...string) {
	w.Helper()
	w.o.Sleep(5 * w.o.Tick)
	unfinished, err := w.Store.Unfinished(w.ctx(), w.o.Tick, 10)
	w.must(err)
	got := []string{}
	for _, l := range unfinished {
		if l.What == backend.UnfinishedOverdue {
			w.same("its queue alone", l, backend.Unfinished{What: backend.UnfinishedOverdue, Queue: l.Queue})
			got = append(got, l.Queue)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	w.same("late", got, append([]string{}, want...))
}

// wantUnfinishedBatch checks that one batch is unfinished and nothing else, and not before it is BatchAges times as
// old as other unfinished work.
func (w *world) wantUnfinishedBatch(source, batch string) {
	w.Helper()
	w.o.Sleep(backend.BatchAges * w.o.Tick)
	w.wantUnfinished(backend.Unfinished{What: backend.UnfinishedBatch, Source: source, Batch: batch})
}

// wantUnfinished checks the unfinished work: nothing before its age, and then want.
func (w *world) wantUnfinished(want ...backend.Unfinished) {
	w.Helper()
	young, err := w.Store.Unfinished(w.ctx(), time.Hour, 10)
	w.must(err)
	w.same("too young", len(young), 0)
	w.o.Sleep(unfinishedAge(w))
	got, err := w.Store.Unfinished(w.ctx(), w.o.Tick, 10)
	w.must(err)
	w.same("unfinished", append([]backend.Unfinished{}, got...), append([]backend.Unfinished{}, want...))
}
