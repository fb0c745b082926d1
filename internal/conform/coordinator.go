package conform

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// Coordinator tests a coordinator.
func Coordinator(t *testing.T, open Open, o Options) {
	run(t, open, o, []behaviour{
		{"announced_is_present", announced},       // a member has the facts that it announced last
		{"unannounced_disappears", announcedOnce}, // a member that is not announced again disappears
		{"events_reach_subscribers", eventsReach}, // every subscriber of a topic gets its events, in order
		{"subscription_ends_with_context", eventsEnd},
		{"slow_subscriber_gets_gap", eventGap}, // a slow subscriber delays no others
	})
}

func (w *world) wantPresent(kind string, want map[string]json.RawMessage) {
	w.Helper()
	got, err := w.Coordinator.Present(w.ctx(), kind)
	w.must(err)
	if got == nil {
		got = map[string]json.RawMessage{}
	}
	w.same("present", got, want)
}

func announced(w *world) {
	w.wantPresent("node", map[string]json.RawMessage{})
	w.must(w.Coordinator.Announce(w.ctx(), "node", "a", json.RawMessage(`1`)))
	w.must(w.Coordinator.Announce(w.ctx(), "node", "b", json.RawMessage(`2`)))
	w.must(w.Coordinator.Announce(w.ctx(), "node", "a", json.RawMessage(`3`)))
	w.must(w.Coordinator.Announce(w.ctx(), "other", "c", json.RawMessage(`4`)))
	w.wantPresent("node", map[string]json.RawMessage{"a": json.RawMessage(`3`), "b": json.RawMessage(`2`)})
}

func announcedOnce(w *world) {
	w.must(w.Coordinator.Announce(w.ctx(), "node", "a", json.RawMessage(`1`)))
	for waited := time.Duration(0); ; waited += time.Second {
		w.must(w.Coordinator.Announce(w.ctx(), "node", "b", json.RawMessage(`2`)))
		got, err := w.Coordinator.Present(w.ctx(), "node")
		w.must(err)
		if _, there := got["b"]; !there {
			w.Fatalf("disappeared %v after its announcement", waited)
		}
		if _, there := got["a"]; !there && waited >= 5*time.Second {
			return
		} else if there == (waited > time.Minute) {
			w.Fatalf("after %v: present %v", waited, got)
		}
		w.o.Sleep(time.Second)
	}
}

// subscribe calls fn for each event of a topic, and with "gap" for a gap. It returns once events arrive.
func (w *world) subscribe(ctx context.Context, topic string, fn func(event string)) (ended <-chan struct{}) {
	w.Helper()
	over, first := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		defer close(over)
		_ = w.Coordinator.Subscribe(ctx, topic, func(event json.RawMessage) { // returns ctx's error when ctx ends
			once.Do(func() { close(first) })
			if string(event) == `"probe"` {
				return
			}
			if event == nil {
				event = json.RawMessage("gap")
			}
			fn(string(event))
		})
	}()
	w.eventually("the first event", func() bool {
		w.must(w.Coordinator.Publish(w.ctx(), topic, json.RawMessage(`"probe"`)))
		select {
		case <-first:
			return true
		case <-time.After(w.o.Tick):
			return false
		}
	})
	return over
}

func eventsReach(w *world) {
	var mu sync.Mutex
	got := map[string][]string{}
	collect := func(who string) func(string) {
		return func(event string) {
			mu.Lock()
			defer mu.Unlock()
			if event != "gap" {
				got[who] = append(got[who], event)
			}
		}
	}
	w.subscribe(w.ctx(), "t", collect("a"))
	w.subscribe(w.ctx(), "t", collect("b"))
	w.subscribe(w.ctx(), "u", collect("c"))
	for i := range 5 {
		w.must(w.Coordinator.Publish(w.ctx(), "t", json.RawMessage(fmt.Sprint(i))))
	}
	w.eventually("the events", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got["a"]) == 5 && len(got["b"]) == 5
	})
	mu.Lock()
	defer mu.Unlock()
	want := []string{"0", "1", "2", "3", "4"}
	w.same("received", got, map[string][]string{"a": want, "b": want})
}

func eventsEnd(w *world) {
	ctx, cancel := context.WithCancel(w.ctx())
	var mu sync.Mutex
	n := 0
	over := w.subscribe(ctx, "t", func(event string) {
		mu.Lock()
		defer mu.Unlock()
		if event != "gap" {
			n++
		}
	})
	cancel()
	<-over
	w.must(w.Coordinator.Publish(w.ctx(), "t", json.RawMessage(`1`)))
	w.o.Sleep(w.o.Tick)
	mu.Lock()
	defer mu.Unlock()
	w.same("events after the end", n, 0)
}

func eventGap(w *world) {
	release := make(chan struct{})
	var mu sync.Mutex
	var got []string
	w.subscribe(w.ctx(), "t", func(event string) {
		<-release
		mu.Lock()
		defer mu.Unlock()
		got = append(got, event)
	})
	const n = 5000
	for i := range n {
		w.must(w.Coordinator.Publish(w.ctx(), "t", json.RawMessage(fmt.Sprint(i))))
	}
	close(release)
	last := fmt.Sprint(n - 1)
	w.eventually("the last event, or a gap", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) > 0 && (got[len(got)-1] == last || slices.Contains(got, "gap"))
	})
	mu.Lock()
	defer mu.Unlock()
	if len(got) < n && !slices.Contains(got, "gap") {
		w.Errorf("%d of %d events, and no gap", len(got), n)
	}
}
