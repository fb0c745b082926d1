package conform

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var insertBehaviours = []behaviour{
	{"keeps_document", insertKeeps},             // a task is stored as it was given
	{"existing_id", insertTwice},                // an insert returns the stored task and overwrites nothing
	{"existing_batch", insertTells},             // the batch of a stored task tells whose insert has stored it
	{"unique_key", insertUnique},                // a queue has one live task of a key; the key is free when the task ends
	{"unique_key_at_once", insertUniqueAtOnce},  // many inserts make one task
	{"same_id_at_once", insertAtOnce},           // many inserts make one task, and all return it
	{"refused_among_others", insertRefused},     // an invalid task fails alone, whatever others insert at once
	{"cancelled_among_others", insertCancelled}, // a caller that leaves ends only its own insert
	{"invalid_first_status", func(w *world) { // it is refused
		for _, with := range []func(*backend.NewTask){
			id(""), in(""), status(""), status(backend.StatusRunning), status(backend.StatusRetrying),
			status(backend.StatusSuccess),
			func(n *backend.NewTask) { n.Gated = true },
			func(n *backend.NewTask) { n.Task.Source, n.Task.Batch = "source", "b" },
		} {
			_, err := w.Store.Insert(w.ctx(), []backend.NewTask{w.task(id("fine")), w.task(with)})
			w.wantCode(err, backend.ErrInvalidArgument)
		}
		_, err := w.Store.Get(w.ctx(), "fine")
		w.wantCode(err, backend.ErrNotFound)
	}},
	{"store_time", insertDated}, // tasks are dated by the time that the store returns
	{"unknown_task", func(w *world) { // it is not found
		_, err := w.Store.Get(w.ctx(), "unknown")
		w.wantCode(err, backend.ErrNotFound)
	}},
	{"ended_context", endedContext}, // it stops every method
}

func insertDated(w *world) {
	before, err := w.Store.Now(w.ctx())
	w.must(err)
	created := w.insert(w.task())[0].Created
	w.o.Sleep(w.o.Tick)
	after, err := w.Store.Now(w.ctx())
	w.must(err)
	if created.Before(before.Add(-time.Second)) || created.After(after.Add(time.Second)) || !after.After(before) {
		w.Errorf("a task created at %v, after %v and before %v", created, before, after)
	}
}

func insertKeeps(w *world) {
	n := backend.NewTask{Task: backend.Task{
		ID: "full", Queue: "q", Status: backend.StatusPending, Weight: -3, Payload: json.RawMessage(`{"a":[1,2]}`),
		Fingerprint: "f", RetryOf: "other", UniqueKey: "k", Timeout: time.Second, Trace: "00-1-2-01",
		Allow: []string{"10.0.0.0/8", "::1"}, Metadata: map[string]string{"tenant": "acme"}, Retries: new(2),
		RunAt:    time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC(),
		Deadline: time.Now().Add(2 * time.Hour).Truncate(time.Millisecond).UTC(),
	}}
	stored := w.insert(n)[0]
	if stored.Created.IsZero() {
		w.Error("no time of creation")
	}
	want := n.Task
	want.Created = stored.Created
	w.same("read again", w.get("full"), want)
	w.same("stored", stored, want.Head())

	due := w.insert(w.task(delay(time.Hour)))[0]
	if d := due.RunAt.Sub(due.Created); d < time.Hour-time.Second || d > time.Hour+time.Second {
		w.Errorf("due %v after its creation, want an hour", d)
	}
	if now := w.insert(w.task())[0]; now.RunAt.IsZero() || now.RunAt.Sub(now.Created).Abs() > time.Second {
		w.Errorf("due at %v, created at %v", now.RunAt, now.Created)
	}
}

func insertTwice(w *world) {
	first := w.insert(w.task(id("same")))[0]
	stored := w.insert(w.task(id("same"), weight(7), in("elsewhere")), w.task(id("new")), w.task(id("new"), weight(7)))
	w.same("the existing one", stored[0], first)
	w.same("twice in one call", stored[2], stored[1])
	there := w.get("same")
	w.same("read again", there.Head(), first)
	t := w.take("same", "owner")
	w.must(w.Store.Progress(w.ctx(), "same", t.Fence, json.RawMessage(`1`)))
	w.wantSettled(backend.Settle{
		ID: "same", Fence: t.Fence, Nonce: "n", To: backend.StatusSuccess, Result: json.RawMessage(`2`),
		Log: []string{"line"},
	}, backend.SettledApplied)
	there = w.get("same")
	w.same("its result", there.Result, json.RawMessage(`2`))
	w.same("after its end", w.insert(w.task(id("same")))[0], there.Head())
}

func insertTells(w *world) {
	batch := func(name string) func(*backend.NewTask) { return func(n *backend.NewTask) { n.Task.Batch = name } }
	for _, twice := range []string{"first", "second"} {
		for _, with := range []func(*backend.NewTask){id("a"), unique("k")} {
			if got := w.insert(w.task(with, batch(twice)))[0].Batch; got != "first" {
				w.Errorf("inserted as %s: has batch %q", twice, got)
			}
		}
	}
	w.same("read again", w.get("a").Batch, "first")
	for range 3 {
		name := w.next("task")
		own := many(w, func(i int) bool {
			mine := fmt.Sprint("batch", i)
			got, err := w.Store.Insert(w.ctx(), []backend.NewTask{w.task(id(name), unique(name), batch(mine))})
			if err != nil {
				w.Error(err)
				return false
			}
			return got[0].Batch == mine
		})
		if n := len(slices.DeleteFunc(own, func(mine bool) bool { return !mine })); n != 1 {
			w.Errorf("%d inserts have stored one task", n)
		}
	}
}

func insertUnique(w *world) {
	holder := w.add(unique("k"))
	w.same("the live one comes back", w.add(unique("k")), holder)
	if other := w.add(unique("k"), in("other")); other == holder {
		w.Error("a key of one queue counts in another")
	}
	t := w.take(holder, "owner")
	w.same("running is live", w.add(unique("k")), holder)
	w.wantSettled(backend.Settle{ID: holder, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying},
		backend.SettledApplied)
	w.same("retrying is live", w.add(unique("k")), holder)
	w.done(holder, backend.StatusFailed)
	second := w.add(unique("k"))
	if second == holder {
		w.Fatal("the key of a task that ended is not free")
	}
	_, err := w.Store.Stop(w.ctx(), backend.Stop{ID: second})
	w.must(err)
	if third := w.add(unique("k")); third == second {
		w.Error("the key of a task that was stopped is not free")
	}
}

func insertUniqueAtOnce(w *world) {
	for range 5 {
		key := w.next("key")
		got := many(w, func(int) string { return w.add(unique(key)) })
		for _, id := range got {
			if id != got[0] {
				w.Fatalf("tasks %s and %s hold one key", id, got[0])
			}
		}
	}
}

func insertAtOnce(w *world) {
	for range 3 {
		name := w.next("task")
		stored := many(w, func(i int) backend.Task {
			// Next to its own task, which no other inserts.
			got, err := w.Store.Insert(w.ctx(), []backend.NewTask{w.task(), w.task(id(name), weight(i))})
			if err != nil {
				w.Error(err)
				return backend.Task{}
			}
			return got[1]
		})
		one := w.get(name)
		for _, t := range stored {
			w.same("the stored task", t, one.Head())
		}
	}
	if n := len(w.list(backend.TaskQuery{Queue: "q"})); n != 3+3*w.o.Many {
		w.Errorf("%d tasks", n)
	}
}

func insertRefused(w *world) {
	type result struct {
		id  string
		err error
	}
	isInvalid := func(i int) bool { return i%4 == 1 }
	results := many(w, func(i int) result {
		n := w.task()
		if isInvalid(i) {
			n.Task.Status = backend.StatusRunning
		}
		_, err := w.Store.Insert(w.ctx(), []backend.NewTask{n})
		return result{n.Task.ID, err}
	})
	for i, r := range results {
		if isInvalid(i) {
			w.wantCode(r.err, backend.ErrInvalidArgument)
			_, err := w.Store.Get(w.ctx(), r.id)
			w.wantCode(err, backend.ErrNotFound)
			continue
		}
		w.must(r.err)
		w.get(r.id)
	}
}

func insertCancelled(w *world) {
	type result struct {
		id  string
		err error
	}
	leaves := func(i int) bool { return i%2 == 1 }
	for range 5 {
		results := many(w, func(i int) result {
			n := w.task()
			ctx, cancel := context.WithCancel(w.ctx())
			defer cancel()
			if leaves(i) {
				go cancel()
			}
			_, err := w.Store.Insert(ctx, []backend.NewTask{n})
			return result{n.Task.ID, err}
		})
		for i, r := range results {
			switch {
			case !leaves(i):
				w.must(r.err)
			case r.err != nil:
				w.wantCode(r.err, backend.ErrCanceled)
			}
			_, err := w.Store.Get(w.ctx(), r.id)
			switch exists := err == nil; {
			case r.err == nil && !exists:
				w.Errorf("task %s was inserted: %v", r.id, err)
			case r.err != nil && exists && backend.Coded(r.err).Outcome == backend.OutcomeNotSent:
				w.Errorf("task %s exists: %v", r.id, r.err)
			}
		}
	}
}

// many calls f on many goroutines at once and returns the results.
func many[T any](w *world, f func(i int) T) []T {
	out := make([]T, w.o.Many)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() {
			<-start
			out[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return out
}

func endedContext(w *world) {
	ctx, cancel := context.WithCancel(w.ctx())
	cancel()
	s := w.Store
	calls := map[string]func() error{
		"Insert":      func() error { _, err := s.Insert(ctx, []backend.NewTask{w.task()}); return err },
		"Claim":       func() error { _, _, err := s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Max: 1}); return err },
		"Settle":      func() error { _, err := s.Settle(ctx, []backend.Settle{{To: backend.StatusFailed}}); return err },
		"Progress":    func() error { return s.Progress(ctx, "x", 1, nil) },
		"Beat":        func() error { return s.Beat(ctx, "o", 1) },
		"Owners":      func() error { _, err := s.Owners(ctx); return err },
		"Refund":      func() error { return s.Refund(ctx, "o") },
		"ExpireOwner": func() error { _, err := s.ExpireOwner(ctx, "o", 1, 1); return err },
		"Owned":       func() error { _, err := s.Owned(ctx, "o"); return err },
		"Promote":     func() error { _, _, _, err := s.Promote(ctx, "q", 1); return err },
		"Promotable":  func() error { _, err := s.Promotable(ctx, []string{"q"}, 0); return err },
		"Spawn":       func() error { return s.Spawn(ctx, backend.Spawn{Source: "x"}) },
		"Discard":     func() error { return s.Discard(ctx, "x", "b") },
		"Open":        func() error { _, err := s.Open(ctx, "x"); return err },
		"Finish":      func() error { _, _, err := s.Finish(ctx, "x"); return err },
		"Stop":        func() error { _, err := s.Stop(ctx, backend.Stop{ID: "x"}); return err },
		"Unfinished":  func() error { _, err := s.Unfinished(ctx, 0, 1); return err },
		"Now":         func() error { _, err := s.Now(ctx); return err },
		"Get":         func() error { _, err := s.Get(ctx, "x"); return err },
		"List":        func() error { _, err := s.List(ctx, backend.TaskQuery{}); return err },
		"Purge":       func() error { _, err := s.Purge(ctx, backend.Retention{Max: 1}, 1); return err },
	}
	for name, call := range calls {
		if err := call(); backend.CodeOf(err) != backend.ErrCanceled {
			w.Errorf("%s: %v", name, err)
		}
	}
}
