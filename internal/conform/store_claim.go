package conform

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var claimBehaviours = []behaviour{
	{"claim_writes", claimWrites}, // a claim sets all of its fields
	{"claims_never_overlap", claimsDontOverlap},
	{"fences_rise", fencesRise},            // each claim raises the fence by one
	{"repeated_with_nonce", claimRepeated}, // a repeated claim returns the tasks that it took and that still run
	{"order", claimOrder},                  // best weight first, then the oldest
	{"by_ids", claimIDs},                   // a claim takes the best of the named tasks and no others
	{"due", claimDue},                      // a claim takes due tasks and returns when the next one is due
	{"past_deadline", claimInTime},         // such a task is never claimed
	{"allowed_address", claimAllowed},      // a claim takes only tasks that may run at the claimer's address
	{"disallowed_tasks_block_none", claimAround},
	{"other_queue", func(w *world) { // a claim takes no task of another queue
		w.add(in("a"))
		w.same("claimed", ids(w.claim("b", "o", 10)), []string{})
	}},
	{"max", func(w *world) { // a claim takes no more than asked
		for range 10 {
			w.add()
		}
		w.same("of none", len(w.claim("q", "o", 0)), 0)
		w.same("of three", len(w.claim("q", "o", 3)), 3)
		w.same("of the rest", len(w.claim("q", "o", 100)), 7)
	}},
}

func allow(list ...string) func(*backend.NewTask) {
	return func(n *backend.NewTask) { n.Task.Allow = list }
}

// claimAt claims from an address.
func (w *world) claimAt(ip string, max int, only ...string) []string {
	w.Helper()
	tasks, next, err := w.Store.Claim(w.ctx(), backend.Claim{
		Queue: "q", Owner: "o", Nonce: w.next("nonce"), Max: max, IDs: only, Networks: backend.AllowedBy(ip),
	})
	w.must(err)
	if next != 0 {
		w.Errorf("the next task is reported due in %v", next)
	}
	return ids(tasks)
}

func claimAllowed(w *world) {
	one, net, six := w.add(allow("10.1.2.3")), w.add(allow("192.168.0.0/16", "10.1.2.4")), w.add(allow("fd00::/8"))
	for _, only := range [][]string{nil, {one, net, six}} {
		w.same("nowhere", w.claimAt("", 9, only...), []string{})
		w.same("at another address", w.claimAt("10.1.2.5", 9, only...), []string{})
	}
	w.same("at the network", w.claimAt("192.168.7.7", 9), []string{net})
	w.same("by its id at another address", w.claimAt("10.1.2.4", 1, one), []string{})
	w.same("by its id at its address", w.claimAt("10.1.2.3", 1, one), []string{one})
	w.same("at the network, IPv6", w.claimAt("fd12::1", 9), []string{six})
	again, released := w.get(one), backend.StatusWaiting
	w.settle(again, released)
	w.same("released, at another address", w.claimAt("10.1.2.4", 9), []string{})
	w.same("released, at its address", w.claimAt("::ffff:10.1.2.3", 9), []string{one})
}

func claimAround(w *world) {
	first, heavy := w.add(allow("10.1.2.3")), w.add(allow("10.1.2.3"), weight(5))
	open, late := w.add(), w.add(allow("10.1.2.3"), weight(-1))
	_, _, _, err := w.Store.Promote(w.ctx(), "q", 10) // hints don't change this
	w.must(err)
	w.same("at another address", w.claimAt("10.9.9.9", 9), []string{open})
	w.same("at its address, the best", w.claimAt("10.1.2.3", 1), []string{heavy})
	young := w.add()
	w.same("at its address, all", w.claimAt("10.1.2.3", 9), []string{first, young, late})
}

func claimWrites(w *world) {
	id := w.add()
	before := w.get(id)
	got := w.claim("q", "o", 1)
	if len(got) != 1 {
		w.Fatal("nothing to claim")
	}
	want := before
	want.Status, want.Attempt, want.Fence, want.Started = backend.StatusRunning, 1, before.Fence+1, got[0].Started
	want.Instance, want.IP = instanceOf("o"), testIP
	w.same("claimed", got[0], want)
	w.same("read again", w.get(id), got[0])
	if got[0].Started.Before(before.Created) {
		w.Errorf("started %v before it was created %v", got[0].Started, before.Created)
	}
}

func claimsDontOverlap(w *world) {
	const tasks = 600
	var batch []backend.NewTask
	for range tasks {
		batch = append(batch, w.task())
	}
	w.insert(batch...)
	got := many(w, func(i int) []backend.Task {
		var mine []backend.Task
		for {
			took := w.claim("q", fmt.Sprint("owner", i), 1+i%7)
			if len(took) == 0 {
				return mine
			}
			mine = append(mine, took...)
		}
	})
	owner := map[string]int{}
	for i, mine := range got {
		for _, t := range mine {
			if first, twice := owner[t.ID]; twice {
				w.Errorf("task %s was claimed by %d and %d", t.ID, first, i)
			}
			owner[t.ID] = i
			if t.Fence != 1 || t.Attempt != 1 {
				w.Errorf("task %s has fence %d, attempt %d", t.ID, t.Fence, t.Attempt)
			}
		}
	}
	if len(owner) != tasks {
		w.Errorf("%d tasks were claimed of %d", len(owner), tasks)
	}
}

func fencesRise(w *world) {
	id := w.add()
	for i := range int64(4) {
		t := w.take(id, "o")
		w.same("fence", t.Fence, i+1)
		w.settle(t, []backend.Status{backend.StatusRetrying, backend.StatusWaiting}[i%2])
		w.same("fence when settled", w.get(id).Fence, i+1)
	}
	w.same("attempts: those released are not charged", w.get(id).Attempt, 2)
}

func claimRepeated(w *world) {
	for range 5 {
		w.add()
	}
	c := backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 3}
	first, _, err := w.Store.Claim(w.ctx(), c)
	w.must(err)
	again, _, err := w.Store.Claim(w.ctx(), c)
	w.must(err)
	byID := func(a, b backend.Task) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(first, byID)
	slices.SortFunc(again, byID)
	w.same("repeated", again, first)
	w.settle(first[0], backend.StatusSuccess)
	again, _, err = w.Store.Claim(w.ctx(), c)
	w.must(err)
	w.same("repeated after one has ended", ids(again), ids(first[1:]))
	w.same("by another nonce", len(w.claim("q", "o", 3)), 2)
}

// claimOrder inserts tasks of few weights in random order, some of which return from an attempt, and compares each
// claimed task with all ready ones.
func claimOrder(w *world) {
	r := rand.New(rand.NewPCG(1, 2))
	type ready struct {
		id          string
		weight, age int
	}
	var line []ready
	age := 0
	for range 40 {
		for range 1 + r.IntN(5) {
			age++
			x := ready{w.next("ordered"), r.IntN(4), age}
			w.add(id(x.id), weight(x.weight))
			line = append(line, x)
		}
		w.o.Sleep(time.Millisecond) // adapters without another age may return tasks of one instant in any order
		slices.SortStableFunc(line, func(a, b ready) int { return cmp.Or(b.weight-a.weight, a.age-b.age) })
		var back []ready
		claimed := w.claim("q", "o", 1+r.IntN(4))
		for _, t := range claimed {
			i := slices.IndexFunc(line, func(x ready) bool { return x.id == t.ID })
			if i < 0 || i > w.o.Overtake {
				w.Fatalf("task %s was claimed, number %d of those ready", t.ID, i)
			}
			if r.IntN(3) == 0 {
				back = append(back, line[i]) // keeps its age
			}
			line = slices.Delete(line, i, i+1)
		}
		for _, t := range claimed {
			to := backend.StatusSuccess
			if slices.ContainsFunc(back, func(x ready) bool { return x.id == t.ID }) {
				to = backend.StatusRetrying
			}
			w.settle(t, to)
		}
		line = append(line, back...)
	}
}

func claimIDs(w *world) {
	light, heavy, other := w.add(weight(1)), w.add(weight(2)), w.add(weight(3))
	elsewhere := w.add(in("elsewhere"))
	got, _, err := w.Store.Claim(w.ctx(), backend.Claim{
		Queue: "q", Owner: "o", Nonce: "n", Max: 1, IDs: []string{light, light, "unknown", elsewhere, heavy, heavy},
	})
	w.must(err)
	w.same("the best one", ids(got), []string{heavy})
	got, _, err = w.Store.Claim(w.ctx(), backend.Claim{
		Queue: "q", Owner: "o", Nonce: "m", Max: 10, IDs: []string{light, heavy, elsewhere, light},
	})
	w.must(err)
	w.same("the rest", ids(got), []string{light})
	w.wantStatus(backend.StatusWaiting, other, elsewhere)
}

func claimDue(w *world) {
	tick := w.o.Tick
	next := func() time.Duration {
		w.Helper()
		_, next, err := w.Store.Claim(w.ctx(), backend.Claim{Queue: "q", Owner: "o", Nonce: w.next("n")})
		w.must(err)
		return next
	}
	w.same("nothing known", next(), time.Duration(0))
	now := w.add()
	w.same("due tasks don't count", next(), time.Duration(0))
	later := w.add(delay(100 * tick))
	soon := w.add(delay(5 * tick))
	if n := next(); n <= 0 || n > 5*tick {
		w.Errorf("next is %v, want up to %v", n, 5*tick)
	}
	w.same("due now", ids(w.claim("q", "o", 10)), []string{now})
	w.o.Sleep(6 * tick)
	w.same("due soon", ids(w.claim("q", "o", 10)), []string{soon})
	if n := next(); n <= 5*tick || n > 100*tick {
		w.Errorf("next is %v, want up to %v", n, 100*tick)
	}
	w.wantStatus(backend.StatusWaiting, later)

	past := w.task(id("past"))
	past.Task.RunAt = w.o.Now().Add(-time.Hour)
	w.insert(past)
	w.same("due in the past", ids(w.claim("q", "o", 10)), []string{"past"})
}

func claimInTime(w *world) {
	late, fine := w.add(w.deadline(2*w.o.Tick)), w.add(w.deadline(time.Hour))
	w.o.Sleep(3 * w.o.Tick)
	w.same("claimed", ids(w.claim("q", "o", 10)), []string{fine})
	_, failed, _, err := w.Store.Promote(w.ctx(), "q", 0)
	w.must(err)
	w.same("failed", ids(failed), []string{late})
	t := w.get(late)
	if t.Status != backend.StatusFailed || t.Error == nil ||
		t.Error.Code != backend.ErrDeadlineExceeded || t.Ended.IsZero() {
		w.Errorf("a task past its deadline: %+v, error %+v", t, t.Error)
	}
	w.same("returned unchanged", failed, []backend.Task{t.Head()})
	// A running task may end after its deadline.
	id := w.add(w.deadline(2 * w.o.Tick))
	running := w.take(id, "o")
	w.o.Sleep(3 * w.o.Tick)
	_, failed, _, err = w.Store.Promote(w.ctx(), "q", 10)
	w.must(err)
	w.same("failed", len(failed), 0)
	w.settle(running, backend.StatusSuccess)
}
