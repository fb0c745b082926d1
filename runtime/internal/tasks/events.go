package tasks

import (
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/internal/signal"
)

// An endEvents tells other processes which tasks have ended, on a goroutine of its own: a slow coordinator delays no result. What has
// come together while the last notification was sent is sent together. Beyond maxEndEvents ids the rest is dropped: waiters look for
// themselves, every 2 s at least.
type endEvents struct {
	e *Engine

	mu   sync.Mutex
	ids  []string
	sent chan struct{} // closed when all are sent; made by flush

	some signal.Signal
}

const maxEndEvents = 20_000

func newEndEvents(e *Engine) *endEvents { return &endEvents{e: e, some: signal.New()} }

// add has other processes told. It never waits.
func (n *endEvents) add(ids []string) {
	n.mu.Lock()
	free := max(0, maxEndEvents-len(n.ids))
	n.ids = append(n.ids, ids[:min(len(ids), free)]...)
	n.mu.Unlock()
	if len(ids) > free {
		n.e.Log.Debug("not told that tasks have ended", "tasks", len(ids)-free)
	}
	n.some.Set()
}

// take returns what must be sent. If that is nothing, a flush has ended.
func (n *endEvents) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	ids := n.ids
	n.ids = nil
	if len(ids) == 0 && n.sent != nil {
		close(n.sent)
		n.sent = nil
	}
	return ids
}

func (n *endEvents) run(ctx context.Context) {
	for {
		ids := n.take()
		if len(ids) == 0 {
			select {
			case <-n.some.C():
				continue
			case <-ctx.Done():
				return
			}
		}
		n.e.bus.Publish(topicEnded, ids)
	}
}

// flush waits until all is sent, or ctx ends.
func (n *endEvents) flush(ctx context.Context) {
	n.mu.Lock()
	if n.sent == nil {
		n.sent = make(chan struct{})
	}
	sent := n.sent
	n.mu.Unlock()
	n.some.Set()
	select {
	case <-sent:
	case <-ctx.Done():
	}
}
