package conform

import (
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var promoteBehaviours = []behaviour{
	{"picks_best_once", promotePicks},         // due tasks without a hint are picked once, the best first
	{"next_due", promoteNext},                 // a promotion returns when the next task is due
	{"lost_hint_again", promoteAgain},         // a lost hint is sent again, later each time
	{"claim_end_clears_hint", promoteEmptied}, // a claim that ends, settled or lost, clears the hint
	{"promote_at_once", promoteAtOnce},        // each task goes to one of many
	{"promotable", promotable},                // queues with something to promote are found
	{"deadline_fails", func(w *world) { // a task past its deadline fails and frees its unique key
		late := w.add(w.deadline(2*w.o.Tick), unique("k"))
		gated := w.add(w.deadline(2*w.o.Tick), child(w.add(in("sources")), "b"))
		w.o.Sleep(3 * w.o.Tick)
		_, failed, _, err := w.Store.Promote(w.ctx(), "q", 10)
		w.must(err)
		got := ids(failed)
		slices.Sort(got)
		w.same("failed", got, []string{late, gated})
		if w.add(unique("k")) == late {
			w.Error("its unique key is not free")
		}
	}},
}

func (w *world) promote(queue string, max int) []string {
	w.Helper()
	ids, _, _, err := w.Store.Promote(w.ctx(), queue, max)
	w.must(err)
	return ids
}

func promotePicks(w *world) {
	a, b, c := w.add(weight(1)), w.add(weight(5), status(backend.StatusPending)), w.add(weight(3))
	w.add(weight(9), delay(time.Hour))
	w.add(weight(9), child(w.add(in("sources")), "b"))
	w.add(weight(9), in("elsewhere"))
	w.take(w.add(weight(9)), "o")
	w.same("none asked for", len(w.promote("q", 0)), 0)
	w.same("the best two", w.promote("q", 2), []string{b, c})
	w.same("the rest", w.promote("q", 10), []string{a})
	w.same("no longer pending", len(w.promote("q", 10)), 0)
	w.wantStatus(backend.StatusPending, a, b, c)
	w.same("a hint blocks no claim", len(w.claim("q", "o", 10)), 3)
	w.same("an unused queue", len(w.promote("nowhere", 10)), 0)
}

func promoteNext(w *world) {
	tick := w.o.Tick
	next := func() time.Duration {
		w.Helper()
		_, _, next, err := w.Store.Promote(w.ctx(), "q", 10)
		w.must(err)
		return next
	}
	w.same("nothing", next(), time.Duration(0))
	id := w.add(delay(5 * tick))
	if n := next(); n <= 0 || n > 5*tick {
		w.Errorf("next is %v, want up to %v", n, 5*tick)
	}
	w.o.Sleep(6 * tick)
	w.same("due", w.promote("q", 10), []string{id})
	w.same("no other", next(), time.Duration(0))
}

func promoteAgain(w *world) {
	hints := 10
	if !w.o.Virtual {
		hints = 2 // more would take minutes
	}
	id := w.add()
	var last time.Duration
	for i := range hints {
		if got := w.promote("q", 10); !slices.Equal(got, []string{id}) {
			w.Fatalf("hint %d: %v", i, got)
		}
		waited := time.Duration(0)
		for ; len(w.promote("q", 0)) == 0 && waited < last-time.Second; waited += time.Second {
			if got := w.promote("q", 10); len(got) > 0 {
				w.Fatalf("pending again %v after hint %d", waited, i)
			}
			w.o.Sleep(time.Second)
		}
		if i == hints-1 {
			return
		}
		age := min(5*time.Second<<(i+1), 10*time.Minute)
		w.o.Sleep(age - waited)
		last = min(5*time.Second<<(i+1), time.Minute)
	}
}

func promoteEmptied(w *world) {
	id := w.add()
	w.must(w.Store.Beat(w.ctx(), "lost", 1))
	for _, end := range []func(t backend.Task){
		func(t backend.Task) { w.settle(t, backend.StatusRetrying) },
		func(t backend.Task) { w.settle(t, backend.StatusWaiting) },
		func(backend.Task) { w.expire("lost", 1, 100) },
	} {
		w.same("pending", w.promote("q", 10), []string{id})
		w.same("not pending", len(w.promote("q", 10)), 0)
		end(w.take(id, "lost"))
	}
	w.due(id)
	w.same("pending", w.promote("q", 10), []string{id})
}

func promoteAtOnce(w *world) {
	const tasks = 300
	for range tasks {
		w.add()
	}
	seen := map[string]bool{}
	for _, got := range many(w, func(i int) []string {
		var all []string
		for {
			ids := w.promote("q", 1+i%5)
			if len(ids) == 0 {
				return all
			}
			all = append(all, ids...)
		}
	}) {
		for _, id := range got {
			if seen[id] {
				w.Errorf("task %s was promoted twice", id)
			}
			seen[id] = true
		}
	}
	w.same("promoted", len(seen), tasks)
}

func promotable(w *world) {
	queues := []string{"ready", "delayed", "deadline", "gated", "other", "nowhere"}
	found := func(within time.Duration) []string {
		w.Helper()
		got, err := w.Store.Promotable(w.ctx(), queues, within)
		w.must(err)
		slices.Sort(got)
		return got
	}
	none := func(within time.Duration, about string) {
		w.Helper()
		if got := found(within); len(got) > 0 {
			w.Errorf("%s: found %v", about, got)
		}
	}
	none(time.Hour, "an empty store")
	w.done(w.add(in("other")), backend.StatusSuccess)
	w.take(w.add(in("other")), "o")
	w.add(in("elsewhere"))
	none(time.Hour, "nothing waits")
	w.add(in("delayed"), delay(10*w.o.Tick))
	w.add(in("deadline"), delay(time.Hour), w.deadline(10*w.o.Tick))
	w.add(in("gated"), w.deadline(10*w.o.Tick), child(w.add(in("sources")), "b"))
	none(w.o.Tick, "too early")
	w.same("soon", found(20*w.o.Tick), []string{"deadline", "delayed", "gated"})
	w.add(in("ready"))
	w.same("ready", found(w.o.Tick), []string{"ready"})
	w.o.Sleep(11 * w.o.Tick)
	w.same("all", found(0), []string{"deadline", "delayed", "gated", "ready"})
	for range 200 {
		w.add(in("other"))
	}
	got := found(0)
	for _, q := range []string{"deadline", "delayed", "gated", "ready", "other"} {
		if !slices.Contains(got, q) {
			w.Errorf("queue %s is not found next to many ready tasks: %v", q, got)
		}
	}
	got, err := w.Store.Promotable(w.ctx(), []string{}, time.Hour)
	w.must(err)
	w.same("no queues", len(got), 0)
}
