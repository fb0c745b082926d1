package conform

import (
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var countBehaviours = []behaviour{
	{"queues", queueCounts},                // all queues that have tasks, with counts by status
	{"queues_oldest", queuesOldest},        // since when a task has been due
	{"queues_oldest_ready", oldestIsReady}, // tasks that can't be claimed don't count
	{"ahead", ahead},                       // heavier tasks, and older ones of the same weight
	{"ahead_of_batch", aheadOfBatch},       // tasks of one Insert are in an order, too
	{"ahead_of_returned", aheadOfReturned}, // tasks that wait again keep their place
	{"ahead_of_others", aheadOfOthers},     // of tasks that are not ready, as if they were
	{"counts_are_bounded", boundedCounts},  // or exact
}

// queues returns the counts of each queue, without final statuses, which stores may leave out.
func (w *world) queues() map[string]map[backend.Status]int {
	w.Helper()
	all, err := w.Store.Queues(w.ctx())
	w.must(err)
	if !slices.IsSortedFunc(all, func(a, b backend.QueueCounts) int { return strings.Compare(a.Queue, b.Queue) }) {
		w.Errorf("not sorted: %v", all)
	}
	got := map[string]map[backend.Status]int{}
	for _, q := range all {
		got[q.Queue] = map[backend.Status]int{}
		for status, c := range q.Counts {
			if c.AtLeast || c.N <= 0 {
				w.Errorf("queue %s: %d tasks are %s, or more: %v", q.Queue, c.N, status, c.AtLeast)
			}
			if !status.Final() {
				got[q.Queue][status] = c.N
			}
		}
	}
	return got
}

func queueCounts(w *world) {
	w.same("an empty store", len(w.queues()), 0)
	const waiting, pending, running, retrying = backend.StatusWaiting, backend.StatusPending, backend.StatusRunning,
		backend.StatusRetrying
	w.add(in("b"))
	w.add(in("b"), delay(time.Hour))
	w.add(in("b"), status(pending))
	w.take(w.add(in("b")), "o")
	again := w.take(w.add(in("b")), "o")
	w.settle(again, retrying)
	done := w.add(in("ended"))
	w.done(done, backend.StatusSuccess)
	source := w.add(in("a"))
	w.add(in("gated"), child(source, "b"))
	w.same("counts", w.queues(), map[string]map[backend.Status]int{
		"a": {waiting: 1}, "b": {waiting: 2, pending: 1, running: 1, retrying: 1}, "ended": {}, "gated": {waiting: 1},
	})
	w.take(again.ID, "o")
	w.stop(source, false)
	w.must(w.Store.Delete(w.ctx(), done))
	w.must(w.Store.Discard(w.ctx(), source, "b"))
	w.same("counts later", w.queues(), map[string]map[backend.Status]int{
		"a": {}, "b": {waiting: 2, pending: 1, running: 2},
	})
	all, err := w.Store.Queues(w.ctx())
	w.must(err)
	final := all[0].Counts
	if n, ok := final[backend.StatusStopped]; len(final) > 0 && (!ok || n.N != 1 || len(final) != 1) {
		w.Errorf("counts of a queue with a stopped task: %v", final)
	}
}

// oldest returns QueueCounts.Oldest of a queue.
func (w *world) oldest(queue string) time.Time {
	w.Helper()
	all, err := w.Store.Queues(w.ctx())
	w.must(err)
	i := slices.IndexFunc(all, func(q backend.QueueCounts) bool { return q.Queue == queue })
	if i < 0 {
		return time.Time{}
	}
	return all[i].Oldest
}

// runAt sets when a task is due, relative to now.
func (w *world) runAt(d time.Duration) func(*backend.NewTask) {
	return func(n *backend.NewTask) { n.Task.RunAt = w.o.Now().Add(d).Truncate(time.Millisecond) }
}

func queuesOldest(w *world) {
	w.same("no task", w.oldest("q"), time.Time{})
	first := w.add()
	w.o.Sleep(w.o.Tick)
	longer := w.add(w.runAt(-time.Hour))
	heavy := w.add(weight(5), w.runAt(-time.Minute))
	light := w.add(weight(-1))
	for _, id := range []string{heavy, first, longer, light} {
		w.same("oldest", w.oldest("q"), w.get(id).RunAt)
		w.same("claimed", ids(w.claim("q", "o", 1)), []string{id})
	}
	w.same("all run", w.oldest("q"), time.Time{})
	allowed := w.add(allow("10.1.2.3"), w.runAt(-time.Hour))
	w.same("a task for one address", w.oldest("q"), w.get(allowed).RunAt)
	suspect := w.suspect(in("suspects"))
	w.same("a suspect", w.oldest("suspects"), w.get(suspect).RunAt)
}

func oldestIsReady(w *world) {
	w.add(delay(time.Hour))
	w.take(w.add(), "o")
	w.done(w.add(), backend.StatusFailed)
	w.add(child(w.add(in("sources")), "b"))
	late := w.add(w.deadline(2 * w.o.Tick))
	w.same("in time", w.oldest("q"), w.get(late).RunAt)
	w.o.Sleep(3 * w.o.Tick)
	w.same("none is ready", w.oldest("q"), time.Time{})
	soon := w.add(delay(2 * w.o.Tick))
	w.o.Sleep(3 * w.o.Tick)
	w.same("due now", w.oldest("q"), w.get(soon).RunAt)
}

func (w *world) wantAhead(id string, want int) {
	w.Helper()
	got, err := w.Store.Ahead(w.ctx(), id)
	w.must(err)
	if got.N != want || got.AtLeast {
		w.Errorf("%+v tasks are ahead of %s, want %d", got, id, want)
	}
}

func ahead(w *world) {
	first, heavy, second := w.add(), w.add(weight(5)), w.add()
	light := w.add(weight(-3))
	w.add(in("other"), weight(9))
	suspect := w.suspect(in("suspects"))
	for i, id := range []string{heavy, first, second, light} {
		w.wantAhead(id, i)
	}
	w.wantAhead(suspect, 0)
	_, err := w.Store.Ahead(w.ctx(), "unknown")
	w.wantCode(err, backend.ErrNotFound)
	w.settle(w.claim("q", "o", 1)[0], backend.StatusRetrying)
	w.wantAhead(first, 1) // the heavy one waits again
	w.add(weight(9), allow("10.1.2.3"))
	w.wantAhead(heavy, 1)
	soon := w.add(weight(8), delay(2*w.o.Tick))
	w.wantAhead(heavy, 1)
	w.o.Sleep(3 * w.o.Tick)
	w.wantAhead(heavy, 2)
	w.wantAhead(soon, 1)
}

func aheadOfBatch(w *world) {
	tasks := make([]backend.NewTask, 9)
	for i := range tasks {
		tasks[i] = w.task()
	}
	w.insert(tasks...)
	order := map[int]string{}
	for _, t := range tasks {
		n, err := w.Store.Ahead(w.ctx(), t.Task.ID)
		w.must(err)
		order[n.N] = t.Task.ID
	}
	for i := range tasks {
		if order[i] == "" {
			w.Errorf("no task has %d others ahead of it: %v", i, order)
		}
	}
	for i := 0; i < len(tasks) && w.o.Overtake == 0; i++ {
		w.same("claimed", ids(w.claim("q", "o", 1)), []string{order[i]})
	}
}

func aheadOfReturned(w *world) {
	var order []string
	for range 12 {
		order = append(order, w.add())
		w.o.Sleep(time.Millisecond)
	}
	claimed := w.claim("q", "o", 9)
	for i := range claimed { // in another order
		w.settle(claimed[i*5%9], backend.StatusRetrying)
	}
	for i, id := range order {
		w.wantAhead(id, i)
	}
	w.stop(order[0], false)
	w.stop(order[4], false)
	w.wantAhead(order[3], 2)
	w.wantAhead(order[11], 9)
	w.same("oldest", w.oldest("q"), w.get(order[1]).RunAt)
}

func aheadOfOthers(w *world) {
	ended, running := w.add(weight(2)), w.add(weight(2))
	w.done(ended, backend.StatusSuccess)
	w.take(running, "o")
	w.add(weight(3))
	later := w.add(weight(2), delay(time.Hour))
	gated := w.add(weight(2), child(w.add(in("sources")), "b"))
	w.add(weight(2))
	late := w.add(weight(9), w.deadline(2*w.o.Tick))
	last := w.add(weight(2), delay(time.Hour))
	w.o.Sleep(3 * w.o.Tick)
	for _, id := range []string{ended, running, later, gated} {
		w.wantAhead(id, 1)
	}
	w.wantAhead(last, 2)
	w.wantAhead(late, 0)
}

func boundedCounts(w *world) {
	for left := backend.MaxTotal + 1; left > 0; {
		batch := make([]backend.NewTask, min(left, 1000))
		for i := range batch {
			batch[i] = w.task()
		}
		w.insert(batch...)
		left -= len(batch)
	}
	all, err := w.Store.Queues(w.ctx())
	w.must(err)
	exact, bounded := backend.Count{N: backend.MaxTotal + 1}, backend.Count{N: backend.MaxTotal, AtLeast: true}
	if n := all[0].Counts[backend.StatusWaiting]; n != exact && n != bounded {
		w.Errorf("%d tasks are counted as %+v", exact.N, n)
	}
	light := w.add(weight(-1))
	n, err := w.Store.Ahead(w.ctx(), light)
	w.must(err)
	w.same("more than the limit", n, bounded)
	w.claim("q", "o", 1)
	n, err = w.Store.Ahead(w.ctx(), light)
	w.must(err)
	w.same("the limit", n, backend.Count{N: backend.MaxTotal})
}
