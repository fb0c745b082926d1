// Package pubsub publishes events to other instances and receives theirs. Events are lists of ids under a topic.
//
// Events may be lost, and everything that depends on them also polls. So publishing returns no error, and subscribers
// are notified of gaps.
package pubsub

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// maxEvent bounds the ids of an event, in bytes.
const maxEvent = 64 << 10

// A Bus publishes and receives events over a coordinator.
type Bus struct {
	ctx         context.Context
	coordinator backend.Coordinator
	log         *slog.Logger
	timeout     time.Duration
}

// New returns a Bus. Publishing stops when ctx ends, and takes at most timeout per event.
func New(ctx context.Context, c backend.Coordinator, log *slog.Logger, timeout time.Duration) *Bus {
	return &Bus{ctx, c, log, timeout}
}

// Publish publishes ids in events of bounded size. After an error it drops the rest.
func (b *Bus) Publish(topic string, ids []string) {
	for len(ids) > 0 {
		ids = b.publish(topic, ids)
	}
}

// PublishFirst publishes as many ids as fit one event, for receivers that read everything anyway.
func (b *Bus) PublishFirst(topic string, ids []string) { b.publish(topic, ids) }

// publish publishes one event and returns the remaining ids.
func (b *Bus) publish(topic string, ids []string) (rest []string) {
	n, size := 0, 0
	for n < len(ids) && (n == 0 || size+len(ids[n])+3 <= maxEvent) {
		size += len(ids[n]) + 3
		n++
	}
	event, err := json.Marshal(ids[:n])
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
	defer cancel()
	if err := b.coordinator.Publish(ctx, topic, event); err != nil {
		b.log.Debug("publishing an event failed", "topic", topic, "error", err)
		return nil
	}
	return ids[n:]
}

// Subscribe returns a function that calls fn for each event of a topic until its context ends. It calls fn with nil
// when events may have been missed.
func (b *Bus) Subscribe(topic string, fn func(event json.RawMessage)) func(context.Context) {
	return func(ctx context.Context) {
		for {
			err := b.coordinator.Subscribe(ctx, topic, fn)
			if ctx.Err() != nil {
				return
			}
			b.log.Debug("not subscribed", "topic", topic, "error", err)
			fn(nil)
			if !retry.Sleep(ctx, retry.Jitter(retry.MaxPoll)) {
				return
			}
		}
	}
}
