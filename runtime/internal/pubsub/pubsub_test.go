package pubsub_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/pubsub"
)

// coordinator records events and fails the first subscriptions.
type coordinator struct {
	backend.Coordinator
	events [][]string
	fails  int
}

func (c *coordinator) Publish(_ context.Context, _ string, event json.RawMessage) error {
	var ids []string
	if err := json.Unmarshal(event, &ids); err != nil {
		return err
	}
	c.events = append(c.events, ids)
	return nil
}

func (c *coordinator) Subscribe(ctx context.Context, _ string, fn func(json.RawMessage)) error {
	if c.fails > 0 {
		c.fails--
		return backend.NewError(backend.ErrUnavailable, "down")
	}
	fn(json.RawMessage(`["a"]`))
	<-ctx.Done()
	return ctx.Err()
}

func TestPublishSplitsEvents(t *testing.T) {
	c := &coordinator{}
	bus := pubsub.New(t.Context(), c, slog.New(slog.DiscardHandler), time.Second)
	ids := slices.Repeat([]string{strings.Repeat("x", 1<<10)}, 200)
	bus.Publish("topic", ids)
	n := 0
	for _, event := range c.events {
		if n += len(event); len(event) > 64 {
			t.Errorf("an event of %d ids of a KiB", len(event))
		}
	}
	if n != len(ids) || len(c.events) < 2 {
		t.Errorf("%d ids in %d events", n, len(c.events))
	}
	c.events = nil
	bus.PublishFirst("topic", ids)
	bus.Publish("topic", []string{strings.Repeat("x", 1<<20)}) // not split, whatever its size
	bus.Publish("topic", nil)
	if len(c.events) != 2 || len(c.events[1]) != 1 {
		t.Errorf("%d events", len(c.events))
	}
}

// A subscriber that may have missed events is notified and subscribed again.
func TestSubscribeReportsGaps(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var heard []string
		bus := pubsub.New(ctx, &coordinator{fails: 2}, slog.New(slog.DiscardHandler), time.Second)
		bus.Subscribe("topic", func(event json.RawMessage) { heard = append(heard, string(event)) })(ctx)
		if want := []string{"", "", `["a"]`}; !slices.Equal(heard, want) {
			t.Errorf("heard %q", heard)
		}
	})
}
