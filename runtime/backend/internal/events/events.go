// Package events delivers events to the subscribers in one process. The Coordinators of all backends use it.
//
// Each subscriber has a bounded buffer. If it overflows, the buffered events are dropped and replaced by one gap, so a
// slow subscriber never blocks a publisher and learns that it missed events.
package events

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// maxPending is how many events are buffered for one subscriber.
const maxPending = 64

// Topics holds the subscriptions of a process. The zero value has none. Its methods are safe for concurrent use.
type Topics struct {
	mu     sync.Mutex
	topics map[string]map[*subscriber]struct{}
}

// A subscriber is one call to Subscribe. Topics.mu guards pending; ready is set while pending is not empty.
type subscriber struct {
	pending []json.RawMessage
	ready   signal.Signal
}

// add appends an event, or a gap if event is nil. If the buffer is full, a gap replaces its content.
func (s *subscriber) add(event json.RawMessage) {
	if len(s.pending) == maxPending {
		s.pending = append(s.pending[:0], nil)
	} else {
		s.pending = append(s.pending, event)
	}
	s.ready.Set()
}

// Publish sends an event to all subscribers of a topic; a nil event is a gap. It never blocks.
func (t *Topics) Publish(topic string, event json.RawMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.topics[topic] {
		s.add(event)
	}
}

// Gap sends a gap to all subscribers of all topics.
func (t *Topics) Gap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, subscribers := range t.topics {
		for s := range subscribers {
			s.add(nil)
		}
	}
}

// Subscribe calls fn with the events of a topic, on the calling goroutine, until ctx ends. A nil event is a gap: events
// may have been missed. The first event is a gap.
func (t *Topics) Subscribe(ctx context.Context, topic string, fn func(event json.RawMessage)) error {
	s := &subscriber{ready: signal.New()}
	t.add(topic, s)
	defer t.remove(topic, s)
	for {
		select {
		case <-s.ready.C():
		case <-ctx.Done():
			return backend.Errorf(backend.CodeOf(ctx.Err()), "subscription to %q ended: %w", topic, context.Cause(ctx))
		}
		t.mu.Lock()
		pending := s.pending
		s.pending = nil
		t.mu.Unlock()
		for _, event := range pending {
			if ctx.Err() != nil {
				break
			}
			fn(event)
		}
	}
}

func (t *Topics) add(topic string, s *subscriber) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.topics == nil {
		t.topics = map[string]map[*subscriber]struct{}{}
	}
	if t.topics[topic] == nil {
		t.topics[topic] = map[*subscriber]struct{}{}
	}
	t.topics[topic][s] = struct{}{}
	s.add(nil)
}

func (t *Topics) remove(topic string, s *subscriber) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.topics[topic], s)
	if len(t.topics[topic]) == 0 {
		delete(t.topics, topic)
	}
}
