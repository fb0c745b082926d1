package conform

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

// Transport tests a transport: hints, with or without ids as it declares, and raw messages.
func Transport(t *testing.T, open Open, o Options) {
	run(t, open, o, []behaviour{
		{"up", func(w *world) {
			if up, changed := w.Transport.State(); !up || changed == nil {
				w.Errorf("up is %v, changed %v", up, changed)
			}
		}},
		{"hint_wakes", hintWakes},
		{"hint_before_listener", hintBefore},          // it is not lost
		{"next_ends", nextEnds},                       // Next ends with its context, and with its listener
		{"other_queue", hintOtherQueue},               // a hint of another queue wakes no listener
		{"ids_window", withIDs(hintWindow)},           // unacknowledged hints are limited
		{"ids_no_window", withIDs(hintNoWindow)},      // hints are left to other listeners, and none is redelivered
		{"ids_redelivered", withIDs(hintRedelivered)}, // an unacknowledged hint is passed on as redelivered
		{"ids_shared", withIDs(hintsShared)},          // each hint goes to one listener
		{"ids_depth", withIDs(hintDepth)},             // the depth is the number of waiting hints
		{"raw_once", rawOnce},                         // a raw message is received once
		{"raw_waits", rawWaits},                       // a raw message waits for its receiver
		{"raw_again", rawAgain},                       // a raw message that fails is delivered again
		{"raw_shared", rawShared},                     // receivers share the raw messages
		{"raw_headers", rawHeaders},                   // metadata and trace arrive, also when it is delivered again
		{"raw_attempts", rawAttempts},                 // deliveries are counted, except released ones
		{"raw_delay", rawDelay},                       // a message that waits delays no others
		{"raw_many_delayed", rawManyDelayed},          // nor do many
		{"raw_panic", rawPanic},                       // the delivery counts
		{"raw_dead", rawDead},                         // a message is moved to the dead-letter queue, with the reason
	})
}

func withIDs(test func(*world)) func(*world) {
	return func(w *world) {
		if w.Transport.Ids() { // wake-ups don't promise this
			test(w)
		}
	}
}

func (w *world) listen(queue string, window int) backend.Listener {
	w.Helper()
	l, err := w.Transport.Listen(w.ctx(), queue, window)
	w.must(err)
	w.Cleanup(func() { _ = l.Close() }) // some tests have closed it
	return l
}

func (w *world) hint(queue string, ids ...string) []bool {
	w.Helper()
	taken, err := w.Transport.Hint(w.ctx(), queue, ids)
	w.must(err)
	w.same("answers", len(taken), len(ids))
	return taken
}

// hints receives n hints, or fails.
func (w *world) hints(l backend.Listener, n int) []backend.Hint {
	w.Helper()
	var all []backend.Hint
	for len(all) < n {
		ctx, cancel := context.WithTimeout(w.ctx(), 500*w.o.Tick)
		got, err := l.Next(ctx, n-len(all))
		cancel()
		w.must(err)
		if len(got) == 0 || len(got) > n-len(all) {
			w.Fatalf("%d hints, asked for up to %d", len(got), n-len(all))
		}
		all = append(all, got...)
	}
	return all
}

// quiet checks that no hint arrives for a while.
func (w *world) quiet(l backend.Listener) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx(), 5*w.o.Tick)
	defer cancel()
	if got, err := l.Next(ctx, 10); err == nil {
		w.Errorf("hints %+v", got)
	} else if backend.CodeOf(err) != backend.ErrDeadlineExceeded {
		w.Errorf("waiting for hints: %v", err)
	}
}

func names(hints []backend.Hint) []string {
	out := []string{}
	for _, h := range hints {
		out = append(out, h.ID)
	}
	slices.Sort(out)
	return out
}

func hintWakes(w *world) {
	l := w.listen("q", 10)
	got := make(chan []backend.Hint, 1)
	go func() { got <- w.hints(l, 1) }()
	w.hint("q", "a")
	h := (<-got)[0]
	if (h.ID == "a") != w.Transport.Ids() || h.Redelivered || h.Done == nil {
		w.Errorf("%+v", h)
	}
	h.Done()
	h.Done()
	w.quiet(l)
}

func hintBefore(w *world) {
	w.hint("q", "a")
	w.hints(w.listen("q", 10), 1)[0].Done()
}

func nextEnds(w *world) {
	l := w.listen("q", 10)
	w.quiet(l)
	ended := make(chan error, 1)
	go func() {
		_, err := l.Next(w.ctx(), 1)
		ended <- err
	}()
	w.must(l.Close())
	w.must(l.Close())
	if err := <-ended; err == nil {
		w.Error("hints of a listener that is closed")
	}
}

func hintOtherQueue(w *world) {
	l := w.listen("q", 10)
	w.hint("other", "a")
	w.quiet(l)
}

func hintWindow(w *world) {
	l := w.listen("q", 2)
	w.hint("q", "a", "b", "c", "d", "e")
	first := w.hints(l, 2)
	w.quiet(l)
	first[0].Done()
	first[0].Done() // counts once
	second := w.hints(l, 1)
	w.quiet(l)
	w.must(l.Resize(w.ctx(), 3))
	third := w.hints(l, 1)
	w.quiet(l)
	w.must(l.Resize(w.ctx(), 1))
	second[0].Done()
	third[0].Done()
	w.quiet(l)
	first[1].Done()
	last := w.hints(l, 1)
	w.same("all", names(slices.Concat(first, second, third, last)), []string{"a", "b", "c", "d", "e"})
}

func hintNoWindow(w *world) {
	paused := w.listen("q", 0)
	w.hint("q", "a", "b", "c")
	w.quiet(paused)
	w.must(paused.Resize(w.ctx(), 2))
	first := w.hints(paused, 1)
	w.must(paused.Resize(w.ctx(), 0))
	w.quiet(paused)
	other := w.listen("q", 2)
	others := w.hints(other, 2)
	w.must(paused.Resize(w.ctx(), 5))
	w.quiet(paused) // neither its own nor the others' hints are redelivered
	w.same("all", names(slices.Concat(first, others)), []string{"a", "b", "c"})
	w.hint("q", "d") // the other one is full
	w.hints(paused, 1)
}

func hintRedelivered(w *world) {
	l := w.listen("q", 10)
	w.hint("q", "a", "b", "c")
	for _, h := range w.hints(l, 3) {
		if h.ID == "b" {
			h.Done()
		}
	}
	w.must(l.Close())
	again := w.hints(w.listen("q", 10), 2)
	w.same("again", names(again), []string{"a", "c"})
	for _, h := range again {
		if !h.Redelivered {
			w.Errorf("%s redelivered without being marked", h.ID)
		}
	}
}

func hintsShared(w *world) {
	const n = 200
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprint("t", i))
	}
	ctx, cancel := context.WithCancel(w.ctx())
	defer cancel()
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for range 4 {
		l := w.listen("q", 8)
		wg.Go(func() {
			for {
				got, err := l.Next(ctx, 3)
				if err != nil {
					return
				}
				mu.Lock()
				for _, h := range got {
					seen[h.ID]++
					h.Done()
				}
				if len(seen) == n {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	for _, ok := range w.hint("q", ids...) {
		if !ok {
			w.Fatal("a hint was refused")
		}
	}
	wg.Wait()
	for _, id := range ids {
		w.same(id, seen[id], 1)
	}
}

func hintDepth(w *world) {
	depth := func(want int) {
		w.Helper()
		w.eventually(fmt.Sprint("depth ", want), func() bool {
			n, err := w.Transport.Depth(w.ctx(), "q")
			w.must(err)
			return n == want
		})
	}
	depth(0)
	w.hint("q", "a", "b", "c")
	depth(3)
	w.hints(w.listen("q", 2), 2)
	depth(1)
}
