package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// takes receives the raw messages of a queue until fn has returned true n times. Here and below, the error of Receive
// at the end of its context is ignored.
func (w *world) takes(queue string, n int, fn func(m *backend.Message) (h backend.Handled, counts bool)) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx(), 500*w.o.Tick)
	defer cancel()
	left := n
	_ = w.Transport.Receive(ctx, queue, func(_ context.Context, m *backend.Message) backend.Handled {
		h, counts := fn(m)
		if counts {
			if left--; left == 0 {
				cancel()
			}
		}
		return h
	})
	if left > 0 {
		w.Fatalf("%d of %d messages were not received", left, n)
	}
}

// receive collects raw messages of a queue until n have been handled; fn may refuse one.
func (w *world) receive(queue string, n int, fn func(body string) error) []string {
	w.Helper()
	var got []string
	w.takes(queue, n, func(m *backend.Message) (backend.Handled, bool) {
		if fn(string(m.Body)) != nil {
			return backend.Handled{}, false
		}
		got = append(got, string(m.Body))
		return backend.Handled{Done: true}, true
	})
	slices.Sort(got)
	return got
}

func (w *world) send(queue string, bodies ...string) {
	w.Helper()
	for _, b := range bodies {
		w.must(w.Transport.Send(w.ctx(), queue, backend.Message{Body: json.RawMessage(b)}))
	}
}

func fine(string) error { return nil }

// empty checks that a queue has no messages.
func (w *world) empty(queue string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx(), 5*w.o.Tick)
	defer cancel()
	_ = w.Transport.Receive(ctx, queue, func(_ context.Context, m *backend.Message) backend.Handled {
		w.Errorf("queue %s has another message, attempt %d: %s", queue, m.Attempt, m.Body)
		return backend.Handled{Done: true}
	})
}

func rawOnce(w *world) {
	got := make(chan []string, 1)
	go func() { got <- w.receive("q", 3, fine) }()
	w.send("other", `0`)
	w.send("q", `1`, `{"two":2}`, `"three"`)
	w.same("received", <-got, []string{`"three"`, `1`, `{"two":2}`})
	w.same("of the other queue", w.receive("other", 1, fine), []string{`0`})
	w.empty("q")
}

func rawWaits(w *world) {
	w.send("q", `1`, `2`)
	w.same("received", w.receive("q", 2, fine), []string{`1`, `2`})
}

func rawAgain(w *world) {
	w.send("q", `1`)
	tries := 0
	w.same("received", w.receive("q", 1, func(string) error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	}), []string{`1`})
	w.same("tries", tries, 3)
	w.empty("q")
}

func rawShared(w *world) {
	const n = 50
	var mu sync.Mutex
	seen := map[string]int{}
	ctx, cancel := context.WithTimeout(w.ctx(), 500*w.o.Tick)
	defer cancel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_ = w.Transport.Receive(ctx, "q", func(_ context.Context, m *backend.Message) backend.Handled {
				mu.Lock()
				defer mu.Unlock()
				if seen[string(m.Body)]++; len(seen) == n {
					cancel()
				}
				return backend.Handled{Done: true}
			})
		})
	}
	for i := range n {
		w.send("q", fmt.Sprint(i))
	}
	wg.Wait()
	for i := range n {
		w.same("times received", seen[fmt.Sprint(i)], 1)
	}
}

// aTrace is a traceparent.
const aTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func rawHeaders(w *world) {
	md := map[string]string{"tenant": "ünit", "empty": "", "a.b-C": "x=1; y"}
	w.must(w.Transport.Send(w.ctx(), "q", backend.Message{Body: json.RawMessage(`1`), Metadata: md, Trace: aTrace}))
	w.takes("q", 3, func(m *backend.Message) (backend.Handled, bool) {
		w.same("metadata", m.Metadata, md)
		w.same("trace", m.Trace, aTrace)
		w.same("body", string(m.Body), `1`)
		if m.Attempt == 3 {
			return backend.Handled{Dead: &backend.DeadLetter{Reason: backend.DeadAttempts}}, true
		}
		return backend.Handled{}, true
	})
	w.takes("q.dead", 1, func(m *backend.Message) (backend.Handled, bool) {
		w.same("metadata of the dead letter", m.Metadata, md)
		w.same("trace of the dead letter", m.Trace, aTrace)
		return backend.Handled{Done: true}, true
	})
	w.send("q", `2`)
	w.takes("q", 1, func(m *backend.Message) (backend.Handled, bool) {
		w.same("no metadata", len(m.Metadata), 0)
		w.same("no trace", m.Trace, "")
		return backend.Handled{Done: true}, true
	})
}

func rawAttempts(w *world) {
	w.send("q", `1`)
	var attempts []int
	w.takes("q", 5, func(m *backend.Message) (backend.Handled, bool) {
		attempts = append(attempts, m.Attempt)
		switch len(attempts) {
		case 1, 4:
			return backend.Handled{Delay: w.o.Tick}, true
		case 2:
			return backend.Handled{Release: true}, true
		case 5:
			return backend.Handled{Done: true}, true
		}
		return backend.Handled{}, true
	})
	w.same("attempts", attempts, []int{1, 2, 2, 3, 4})
	w.empty("q")
}

func rawDelay(w *world) {
	w.send("q", `1`)
	delay := 10 * w.o.Tick
	var failed time.Time
	var others int
	w.takes("q", 4, func(m *backend.Message) (backend.Handled, bool) {
		switch {
		case string(m.Body) == `2`:
			others++
		case m.Attempt == 1:
			failed = time.Now()
			w.send("q", `2`, `2`)
			return backend.Handled{Delay: delay}, true
		case m.Attempt != 2 || time.Since(failed) < delay-time.Millisecond || others != 2:
			w.Errorf("attempt %d after %v of %v and %d others", m.Attempt, time.Since(failed), delay, others)
		}
		return backend.Handled{Done: true}, true
	})
	w.empty("q")
}

func rawManyDelayed(w *world) {
	const n = 70 // a receiver may deliver some early
	for range n {
		w.send("q", `1`)
	}
	w.send("q", `2`)
	w.takes("q", 1, func(m *backend.Message) (backend.Handled, bool) {
		if string(m.Body) == `2` {
			return backend.Handled{Done: true}, true
		}
		return backend.Handled{Delay: time.Hour}, false
	})
}

func rawPanic(w *world) {
	w.send("q", `1`)
	for n := range 3 {
		func() {
			defer func() { _ = recover() }()
			_ = w.Transport.Receive(w.ctx(), "q", func(_ context.Context, m *backend.Message) backend.Handled {
				w.same("attempt", m.Attempt, n+1)
				panic("oh")
			})
		}()
	}
	w.takes("q", 1, func(m *backend.Message) (backend.Handled, bool) {
		w.same("attempt", m.Attempt, 4)
		return backend.Handled{Done: true}, true
	})
	w.empty("q")
}

func rawDead(w *world) {
	begun := w.o.Now()
	w.send("q", `1`, `2`)
	var moved []error
	w.takes("q", 3, func(m *backend.Message) (backend.Handled, bool) {
		if string(m.Body) == `2` {
			return backend.Handled{Done: true}, true
		}
		if m.Attempt == 1 {
			return backend.Handled{Delay: 2 * w.o.Tick}, true
		}
		return backend.Handled{
			Dead: &backend.DeadLetter{
				Reason: backend.DeadPermanent, Code: backend.ErrDataLoss, Message: "käputt \"1\"\n",
			},
			Moved: func(err error) { moved = append(moved, err) },
		}, true
	})
	w.same("moved", moved, []error{nil})
	tries := 0
	w.takes("q.dead", 2, func(m *backend.Message) (backend.Handled, bool) {
		tries++
		w.same("body", string(m.Body), `1`)
		w.same("attempt", m.Attempt, tries)
		d := m.Dead
		if d == nil {
			w.Fatal("it is no dead letter")
		}
		if d.First.Before(begun.Add(-time.Second)) || d.Last.Sub(d.First) < w.o.Tick ||
			d.Last.After(w.o.Now().Add(time.Second)) {
			w.Errorf("begun at %v, first failed at %v, last at %v", begun, d.First, d.Last)
		}
		w.same("dead letter", backend.DeadLetter{
			Queue: d.Queue, Reason: d.Reason, Attempts: d.Attempts, Code: d.Code, Message: d.Message,
		}, backend.DeadLetter{
			Queue: "q", Reason: backend.DeadPermanent, Attempts: 2, Code: backend.ErrDataLoss, Message: "käputt \"1\"\n",
		})
		return backend.Handled{Done: tries == 2}, true
	})
	w.empty("q")
	w.empty("q.dead")
}
