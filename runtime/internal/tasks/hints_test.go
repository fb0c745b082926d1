package tasks

import (
	"context"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A queue with many hints must not delay those of another queue by more than one batch.
func TestManyHintsOfAQueueDoNotDelayOthers(t *testing.T) {
	h := hints{queues: map[string][]string{}, some: signal.New()}
	var many []string
	for i := range hintBacklog + 10 {
		many = append(many, strconv.Itoa(i))
	}
	h.add("many", many, true)
	first := h.take(map[string][]string{})
	if n := len(first["many"]); n != hintBatch {
		t.Fatalf("%d hints at first, want %d", n, hintBatch)
	}
	published := append([]string(nil), first["many"]...)
	h.add("other", []string{"x"}, true)
	next := h.take(first)
	if len(next["other"]) != 1 {
		t.Fatalf("the next batch has no hint of the other queue: %d queues", len(next))
	}
	for len(next) > 0 {
		published = append(published, next["many"]...)
		next = h.take(next)
	}
	if len(published) != hintBacklog {
		t.Fatalf("%d hints published, want %d", len(published), hintBacklog)
	}
	for i, id := range published {
		if id != strconv.Itoa(i) {
			t.Fatalf("hint %d is %s", i, id)
		}
	}
}

// A downTransport is a transport whose server is unavailable.
type downTransport struct{ backend.Transport }

func (downTransport) Ids() bool                      { return true }
func (downTransport) State() (bool, <-chan struct{}) { return false, nil }
func (downTransport) Hint(context.Context, string, []string) ([]bool, error) {
	return nil, backend.NewError(backend.ErrUnavailable, "down")
}

// The dispatcher doesn't wait for hints while the transport is down, since it also fails overdue tasks.
func TestFlushEndsWhenTransportIsDown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		e := &Engine{
			Config: Config{Ports: &backend.Ports{Transport: downTransport{}}, Log: slog.New(slog.DiscardHandler)},
			hints:  hints{queues: map[string][]string{}, some: signal.New()},
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go e.publishHints(ctx)
		e.queueHint("q", []string{"a"})
		waiting, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		for range 3 {
			if e.hints.flush(waiting); waiting.Err() != nil {
				t.Fatal("waits for a transport that is down")
			}
		}
		e.hints.mu.Lock()
		defer e.hints.mu.Unlock()
		if len(e.hints.queues["q"]) != 1 {
			t.Errorf("hints left: %v", e.hints.queues)
		}
	})
}

// Subtasks whose gate is shut can't be claimed, so hints of them would only cost claims.
func TestOnlyOpenSubtasksAreHinted(t *testing.T) {
	for name, test := range map[string]struct {
		now, ended bool
		want       int
	}{
		"gated": {want: 0},
		"now":   {now: true, want: 2},
		"ended": {ended: true, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			log := slog.New(slog.DiscardHandler)
			ports, err := memory.New().Open(ctx, backend.Env{Instance: backend.Instance{ID: "1"}, Logger: log})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ports.Close(context.Background()) })
			if _, err := ports.Store.Insert(ctx, []backend.NewTask{newTask("source")}); err != nil {
				t.Fatal(err)
			}
			if err := ports.Store.Beat(ctx, "owner", 1); err != nil {
				t.Fatal(err)
			}
			claimed, _, err := ports.Store.Claim(ctx, backend.Claim{Queue: "q", Owner: "owner", Nonce: "n", Max: 1})
			if err != nil || len(claimed) != 1 {
				t.Fatal(claimed, err)
			}
			if test.ended {
				success := backend.Settle{ID: "source", Fence: claimed[0].Fence, Nonce: "n", To: backend.StatusSuccess}
				if _, err := ports.Store.Settle(ctx, []backend.Settle{success}); err != nil {
					t.Fatal(err)
				}
			}
			hinted := map[string]bool{}
			c := NewClient(ports, log, retry.NewRequester(ctx, func() bool { return false }),
				func(_ string, ids []string) {
					for _, id := range ids {
						hinted[id] = true
					}
				})
			spawn := backend.Spawn{Source: "source", Batch: "b", Now: test.now, Count: 2}
			var list []backend.NewTask
			for i := range spawn.Count {
				n := newTask(backend.SubtaskID("source", "b", i))
				n.Task.Source, n.Task.Batch, n.Gated = "source", "b", true
				list = append(list, n)
			}
			if _, err := c.Subtasks(ctx, spawn, "q", list); err != nil {
				t.Fatal(err)
			}
			if len(hinted) != test.want {
				t.Errorf("hinted %v, want %d tasks", hinted, test.want)
			}
		})
	}
}

func newTask(id string) backend.NewTask {
	return backend.NewTask{Task: backend.Task{ID: id, Queue: "q", Status: backend.StatusWaiting, Payload: []byte("{}")}}
}
