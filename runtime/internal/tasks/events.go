package tasks

import (
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/internal/signal"
)

// endEvents notifies other processes of tasks that have ended. It has its own goroutine, so a slow coordinator delays
// no results, and merges ids that arrive while a notification is sent. Ids beyond maxEndEvents are dropped: waiters
// also poll, at least every 2 s.
type endEvents struct {
	e *Engine

	mu   sync.Mutex
	ids  []string
	sent chan struct{} // closed when all are sent; created by flush

	some signal.Signal
}

const maxEndEvents = 20_000

func newEndEvents(e *Engine) *endEvents { return &endEvents{e: e, some: signal.New()} }

// add queues ids to publish. It never blocks.
func (n *endEvents) add(ids []string) {
	n.mu.Lock()
	free := max(0, maxEndEvents-len(n.ids))
	n.ids = append(n.ids, ids[:min(len(ids), free)]...)
	n.mu.Unlock()
	if len(ids) > free {
		n.e.Log.Debug("dropped notifications of finished tasks", "tasks", len(ids)-free)
	}
	n.some.Set()
}

// take returns the ids to publish. If there are none, a flush has ended.
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

// flush waits until all is sent or ctx ends.
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
