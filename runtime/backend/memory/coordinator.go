package memory

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend/internal/events"
)

// presentFor is how long an Announce counts.
const presentFor = 15 * time.Second

// presence says who is there, and spreads news.
type presence struct {
	mu     sync.Mutex
	kinds  map[string]map[string]announced
	topics events.Topics
}

type announced struct {
	facts json.RawMessage
	until time.Time
}

// Announce implements backend.Coordinator.
func (p *presence) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	if err := alive(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kinds == nil {
		p.kinds = map[string]map[string]announced{}
	}
	if p.kinds[kind] == nil {
		p.kinds[kind] = map[string]announced{}
	}
	p.kinds[kind][name] = announced{facts, time.Now().Add(presentFor)}
	return nil
}

// Present implements backend.Coordinator.
func (p *presence) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	if err := alive(ctx); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	present := map[string]json.RawMessage{}
	for name, a := range p.kinds[kind] {
		if a.until.After(now) {
			present[name] = a.facts
		} else {
			delete(p.kinds[kind], name)
		}
	}
	return present, nil
}

// Publish implements backend.Coordinator.
func (p *presence) Publish(ctx context.Context, topic string, news json.RawMessage) error {
	if err := alive(ctx); err != nil {
		return err
	}
	p.topics.Publish(topic, news)
	return nil
}

// Subscribe implements backend.Coordinator. It blocks, and calls fn on its own goroutine.
func (p *presence) Subscribe(ctx context.Context, topic string, fn func(json.RawMessage)) error {
	if err := alive(ctx); err != nil {
		return err
	}
	return p.topics.Subscribe(ctx, topic, fn)
}
