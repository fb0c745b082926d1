// Package news spreads news inside one process: the part of a Coordinator that is the same on every backend.
//
// A subscriber has room for a bounded number of news that it has not taken; what is more becomes one gap, so that a slow
// one holds up nobody and knows that it has missed something.
package news

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// buffer is how many news wait for one subscriber; beyond, they become a gap.
const buffer = 64

// Topics are the subscriptions of a process, or of all processes that are one. The zero value has none. Its methods are
// safe for concurrent use.
type Topics struct {
	mu     sync.Mutex
	topics map[string]map[*subscriber]struct{}
}

// A subscriber is one Subscribe. ready is set while news is not empty. Topics.mu guards news.
type subscriber struct {
	news  []json.RawMessage
	ready signal.Signal
}

// tell adds news; nil is a gap. Those that a slow subscriber has not taken become one gap.
func (s *subscriber) tell(news json.RawMessage) {
	if len(s.news) == buffer {
		s.news = append(s.news[:0], nil)
	} else {
		s.news = append(s.news, news)
	}
	s.ready.Set()
}

// Tell gives news to all subscribers of a topic. It never waits for them.
func (t *Topics) Tell(topic string, news json.RawMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.topics[topic] {
		s.tell(news)
	}
}

// Gap tells all subscribers of all topics that they may have missed something.
func (t *Topics) Gap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, subscribers := range t.topics {
		for s := range subscribers {
			s.tell(nil)
		}
	}
}

// Subscribe calls fn, on its own goroutine, with the news of a topic, and returns when ctx ends. All that came before it is
// a gap: fn gets nil first.
func (t *Topics) Subscribe(ctx context.Context, topic string, fn func(json.RawMessage)) error {
	s := &subscriber{ready: signal.New()}
	t.join(topic, s)
	defer t.leave(topic, s)
	for {
		select {
		case <-s.ready.C():
		case <-ctx.Done():
			return backend.Errorf(backend.CodeOf(ctx.Err()), "subscription of %q ended: %w", topic, context.Cause(ctx))
		}
		t.mu.Lock()
		news := s.news
		s.news = nil
		t.mu.Unlock()
		for _, n := range news {
			if ctx.Err() != nil {
				break
			}
			fn(n)
		}
	}
}

func (t *Topics) join(topic string, s *subscriber) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.topics == nil {
		t.topics = map[string]map[*subscriber]struct{}{}
	}
	if t.topics[topic] == nil {
		t.topics[topic] = map[*subscriber]struct{}{}
	}
	t.topics[topic][s] = struct{}{}
	s.tell(nil)
}

func (t *Topics) leave(topic string, s *subscriber) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.topics[topic], s)
	if len(t.topics[topic]) == 0 {
		delete(t.topics, topic)
	}
}
