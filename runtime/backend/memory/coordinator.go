package memory

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend/internal/events"
)

// presentFor is how long an announcement lasts.
const presentFor = 15 * time.Second

// A coordinator implements backend.Coordinator.
type coordinator struct {
	mu     sync.Mutex
	kinds  map[string]map[string]announced
	topics events.Topics
}

type announced struct {
	facts json.RawMessage
	until time.Time
}

// Announce implements backend.Coordinator.
func (c *coordinator) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kinds == nil {
		c.kinds = map[string]map[string]announced{}
	}
	if c.kinds[kind] == nil {
		c.kinds[kind] = map[string]announced{}
	}
	c.kinds[kind][name] = announced{facts, time.Now().Add(presentFor)}
	return nil
}

// Present implements backend.Coordinator.
func (c *coordinator) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	present := map[string]json.RawMessage{}
	for name, a := range c.kinds[kind] {
		if a.until.After(now) {
			present[name] = a.facts
		} else {
			delete(c.kinds[kind], name)
		}
	}
	return present, nil
}

// Publish implements backend.Coordinator.
func (c *coordinator) Publish(ctx context.Context, topic string, event json.RawMessage) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	c.topics.Publish(topic, event)
	return nil
}

// Subscribe implements backend.Coordinator. It calls fn on the calling goroutine.
func (c *coordinator) Subscribe(ctx context.Context, topic string, fn func(json.RawMessage)) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	return c.topics.Subscribe(ctx, topic, fn)
}
