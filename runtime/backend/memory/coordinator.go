package memory

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	presentFor = 15 * time.Second // after an Announce
	newsBuffer = 64               // news that wait for one subscriber; beyond, they become a gap
)

// presence says who is there, and spreads news.
type presence struct {
	mu     sync.Mutex
	kinds  map[string]map[string]announced
	topics map[string]map[*subscriber]struct{}
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

// A subscriber is one Subscribe. ready has an element while news is not empty. presence.mu guards news.
type subscriber struct {
	news  []json.RawMessage
	ready chan struct{}
}

// tell adds news. Those that a slow subscriber has not taken become one gap.
func (s *subscriber) tell(news json.RawMessage) {
	if len(s.news) == newsBuffer {
		s.news = append(s.news[:0], nil)
	} else {
		s.news = append(s.news, news)
	}
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Broadcast implements backend.Coordinator.
func (p *presence) Broadcast(ctx context.Context, topic string, news json.RawMessage) error {
	if err := alive(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.topics[topic] {
		s.tell(news)
	}
	return nil
}

// Subscribe implements backend.Coordinator. It blocks, and calls fn on its own goroutine. All that came before it is a
// gap: fn gets nil first.
func (p *presence) Subscribe(ctx context.Context, topic string, fn func(json.RawMessage)) error {
	if err := alive(ctx); err != nil {
		return err
	}
	s := &subscriber{ready: make(chan struct{}, 1)}
	p.mu.Lock()
	if p.topics == nil {
		p.topics = map[string]map[*subscriber]struct{}{}
	}
	if p.topics[topic] == nil {
		p.topics[topic] = map[*subscriber]struct{}{}
	}
	p.topics[topic][s] = struct{}{}
	s.tell(nil)
	p.mu.Unlock()
	defer p.leave(topic, s)
	for {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return backend.Errorf(backend.CodeOf(ctx.Err()), "subscription of %q ended: %w", topic, context.Cause(ctx))
		}
		p.mu.Lock()
		news := s.news
		s.news = nil
		p.mu.Unlock()
		for _, n := range news {
			if ctx.Err() != nil {
				break
			}
			fn(n)
		}
	}
}

func (p *presence) leave(topic string, s *subscriber) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.topics[topic], s)
	if len(p.topics[topic]) == 0 {
		delete(p.topics, topic)
	}
}
