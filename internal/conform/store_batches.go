package conform

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

// piece inserts the tasks [from, to) of a batch.
func (w *world) piece(source, batch string, from, to int) {
	w.Helper()
	var tasks []backend.NewTask
	for i := from; i < to; i++ {
		tasks = append(tasks, w.task(id(backend.SubtaskID(source, batch, i)), child(source, batch), in("sub")))
	}
	w.insert(tasks...)
}

func (w *world) commit(source, batch string, n int) error {
	return w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: batch, Now: true, Count: n})
}

func (w *world) wantSubtasks(source string, n int) {
	w.Helper()
	w.same("subtasks of "+source, len(w.list(backend.TaskQuery{Source: source})), n)
}

func batchWhole(w *world) {
	source := w.add()
	run := w.take(source, "o")
	// A part was discarded between two inserts: the rest is not committed.
	w.piece(source, "b", 0, 2)
	w.must(w.Store.Discard(w.ctx(), source, "b"))
	w.piece(source, "b", 2, 3)
	w.wantCode(w.commit(source, "b", 3), backend.ErrAborted)
	w.wantClaimed("sub")
	w.piece(source, "b", 0, 3)
	w.must(w.commit(source, "b", 3))
	w.must(w.commit(source, "b", 3))
	w.wantSubtasks(source, 3)
	// Everything was discarded, or nothing was inserted.
	w.piece(source, "c", 0, 2)
	w.must(w.Store.Discard(w.ctx(), source, "c"))
	w.wantCode(w.commit(source, "c", 2), backend.ErrAborted)
	w.wantCode(w.commit(source, "never", 1), backend.ErrAborted)
	// Discarding another batch does not affect this one.
	w.piece(source, "f", 0, 2)
	w.piece(source, "g", 0, 2)
	w.must(w.Store.Discard(w.ctx(), source, "f"))
	w.must(w.commit(source, "g", 2))
	w.wantCode(w.commit(source, "f", 2), backend.ErrAborted)
	// A handler that died had inserted more tasks; the next attempt inserts fewer.
	w.piece(source, "d", 0, 4)
	w.wantCode(w.commit(source, "d", 2), backend.ErrAborted)
	w.must(w.Store.Discard(w.ctx(), source, "d"))
	w.piece(source, "d", 0, 2)
	w.must(w.commit(source, "d", 2))
	w.must(w.commit(source, "d", 1)) // already committed
	// A committed batch grows by all of the new tasks or not at all.
	w.piece(source, "d", 0, 5)
	w.must(w.Store.Discard(w.ctx(), source, "d"))
	w.wantCode(w.commit(source, "d", 5), backend.ErrAborted)
	w.piece(source, "d", 4, 5)
	w.wantCode(w.commit(source, "d", 5), backend.ErrAborted)
	w.piece(source, "d", 0, 5)
	w.must(w.commit(source, "d", 5))
	w.wantSubtasks(source, 10)
	// A part committed by a program that sends no number is completed.
	w.piece(source, "e", 1, 3)
	w.must(w.commit(source, "e", 0))
	w.wantCode(w.commit(source, "e", 3), backend.ErrAborted)
	w.piece(source, "e", 0, 3)
	w.must(w.commit(source, "e", 3))
	w.wantSubtasks(source, 13)
	w.settle(run, backend.StatusSuccess)
	for _, t := range w.list(backend.TaskQuery{Source: source}) {
		w.done(t.ID, backend.StatusSuccess)
	}
	w.wantFinish(source, true, "q")
	w.same("total", w.get(source).Subtasks.Total, 13)
	// A reply that arrives very late.
	w.must(w.commit(source, "d", 5))
}

// batchAgainstDiscard: sweepers discard a batch while it is inserted in pieces and committed. A nil error means that
// the whole batch is stored.
func batchAgainstDiscard(w *world) {
	const pieces, each = 3, 4
	for round := range 20 {
		source := w.add()
		var over atomic.Bool
		swept := make(chan error, 2)
		for range cap(swept) {
			go func() {
				var err error
				for err == nil && !over.Load() {
					err = w.Store.Discard(w.ctx(), source, "b")
				}
				swept <- err
			}()
		}
		var err error
		for try := 0; ; try++ {
			for p := range pieces {
				w.piece(source, "b", p*each, (p+1)*each)
			}
			if err = w.commit(source, "b", pieces*each); backend.CodeOf(err) != backend.ErrAborted {
				break
			}
			if try == 2 { // otherwise it might never be committed
				over.Store(true)
			}
		}
		over.Store(true)
		for range cap(swept) {
			w.must(<-swept)
		}
		w.must(err)
		if got := len(w.claim("sub", "o", 1000)); got != pieces*each {
			w.Fatalf("round %d: %d tasks of %d", round, got, pieces*each)
		}
		for _, t := range w.list(backend.TaskQuery{Source: source}) {
			w.settle(t, backend.StatusSuccess)
		}
		w.done(source, backend.StatusSuccess)
		w.wantFinish(source, true, "q")
		w.same("total", w.get(source).Subtasks.Total, pieces*each)
	}
}

func batchFenced(w *world) {
	spawn := func(source, batch string, fence int64) error {
		return w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: batch, Count: 1, Fence: fence})
	}
	stale := func(err error) {
		w.Helper()
		w.wantCode(err, backend.ErrAborted)
		if !errors.Is(err, backend.ErrStaleFence) {
			w.Errorf("%v doesn't say that the fence is stale", err)
		}
	}
	source := w.add()
	first := w.take(source, "o")
	w.piece(source, "a", 0, 1)
	w.must(spawn(source, "a", first.Fence))
	w.settle(first, backend.StatusWaiting)
	w.piece(source, "b", 0, 1)
	stale(spawn(source, "b", first.Fence)) // the claim has ended
	second := w.take(source, "p")
	stale(spawn(source, "b", first.Fence))
	stale(spawn(source, "a", first.Fence))
	w.must(spawn(source, "b", second.Fence))
	w.must(spawn(source, "b", second.Fence))
	w.piece(source, "c", 0, 1)
	w.must(spawn(source, "c", 0)) // from outside
	w.settle(second, backend.StatusSuccess)
	w.piece(source, "d", 0, 1)
	w.must(spawn(source, "d", second.Fence)) // begun by its handler
	w.wantSubtasks(source, 4)
	_, err := w.Store.Get(w.ctx(), backend.SubtaskID(source, "b", 0))
	w.must(err)
	failed := w.take(w.add(), "o")
	w.settle(failed, backend.StatusFailed)
	w.piece(failed.ID, "a", 0, 1)
	w.wantCode(spawn(failed.ID, "a", failed.Fence), backend.ErrFailedPrecondition)
}

func batchesBounded(w *world) {
	if w.o.SlowSpawn {
		return // the store has its own test, with a source created by other means
	}
	testkit.Long(w.T, "commits ten thousand batches")
	source := w.add()
	for i := range backend.MaxBatches {
		w.must(w.commit(source, fmt.Sprint(i), 0))
	}
	w.piece(source, "more", 0, 1)
	w.wantCode(w.commit(source, "more", 1), backend.ErrResourceExhausted)
	w.must(w.commit(source, "17", 0))
	w.must(w.Store.Discard(w.ctx(), source, "more"))
	w.wantSubtasks(source, 0)
}
