package tasks

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// hints are the hints to publish, by queue. They have ids if the transport carries ids.
type hints struct {
	mu     sync.Mutex
	queues map[string][]string
	some   signal.Signal
	sent   chan struct{} // closed when all are published or have failed; created by flush
}

// queueHint queues hints for publishing. It never blocks; the dispatcher repeats the ones it drops.
func (e *Engine) queueHint(queue string, ids []string) {
	e.hints.add(queue, ids, e.Ports.Transport.Ids())
	e.hints.some.Set()
}

// add queues hints for publishing. It drops hints beyond hintBacklog.
func (h *hints) add(queue string, ids []string, byID bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	waiting := h.queues[queue]
	if byID {
		waiting = append(waiting, ids[:min(len(ids), max(0, hintBacklog-len(waiting)))]...)
	}
	h.queues[queue] = waiting
}

// take returns the next hints to publish and frees the published ones it returned before. It returns at most
// hintBatch hints of each queue, so that a queue with many hints does not delay others. If there are none, a flush
// has ended.
func (h *hints) take(published map[string][]string) map[string][]string {
	clear(published)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queues) == 0 {
		h.endFlush()
		return published
	}
	queues := h.queues
	h.queues = published
	for queue, ids := range queues {
		if len(ids) > hintBatch {
			queues[queue], h.queues[queue] = ids[:hintBatch:hintBatch], ids[hintBatch:]
		}
	}
	return queues
}

// endFlush ends a flush. The caller holds mu.
func (h *hints) endFlush() {
	if h.sent != nil {
		close(h.sent)
		h.sent = nil
	}
}

// retain queues hints again that could not be published. It ends a flush, since the transport may be down for long.
func (h *hints) retain(queue string, ids []string, byID bool) {
	h.add(queue, ids, byID)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endFlush()
}

// flush waits until all hints are published, publishing has failed, or ctx ends.
func (h *hints) flush(ctx context.Context) {
	h.mu.Lock()
	if h.sent == nil {
		h.sent = make(chan struct{})
	}
	sent := h.sent
	h.mu.Unlock()
	h.some.Set()
	select {
	case <-sent:
	case <-ctx.Done():
	}
}

// publishHints publishes queued hints in batches. It retries failed ones when the transport is back or after a pause,
// because the dispatcher may have recorded them as sent.
func (e *Engine) publishHints(ctx context.Context) {
	pause, queues := retry.MinPoll, map[string][]string{}
	for {
		queues = e.hints.take(queues)
		if len(queues) == 0 {
			select {
			case <-e.hints.some.C():
				continue
			case <-ctx.Done():
				return
			}
		}
		failed := false
		_, changed := e.Ports.Transport.State()
		for queue, ids := range queues {
			if len(ids) == 0 && e.Ports.Transport.Ids() {
				continue // the dispatcher repeats them
			}
			_, err := e.Ports.Transport.Hint(ctx, queue, ids)
			if err == nil || ctx.Err() != nil {
				continue
			}
			e.Log.Debug("sending hints failed, retrying", "queue", queue, "error", err)
			if code := backend.CodeOf(err); code == backend.ErrUnavailable || code == backend.ErrDeadlineExceeded {
				e.hints.retain(queue, ids, e.Ports.Transport.Ids())
				failed = true
			}
		}
		if !failed {
			pause = retry.MinPoll
			continue
		}
		timer := time.NewTimer(retry.Jitter(pause))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		pause = min(2*pause, retry.MaxPoll)
	}
}

// listen collects hints.
func (p *pool) listen(ctx context.Context) {
	for {
		hints, err := p.listener.Next(ctx, max(p.window(), 64))
		if err != nil {
			if ctx.Err() != nil || !retry.Sleep(ctx, retry.Jitter(retry.MinPoll)) {
				return
			}
			continue
		}
		p.mu.Lock()
		p.dropReturned(hints)
		for _, h := range hints {
			if !p.byID {
				p.poll = true
				h.Done()
				continue
			}
			if !backend.ValidID(h.ID) { // any client of the broker may publish to the queue
				p.e.dropHint(p.worker.Queue, h, nil)
				continue
			}
			p.hinted = append(p.hinted, h)
		}
		p.mu.Unlock()
		p.wake.Set()
	}
}

// dropReturned drops the hints that have returned to the queue, since the listener had lost its connection before it
// received the new ones. With them, this pool would have more hints than its window and pass some on, which it may get
// back at once, without end. The caller holds p.mu.
func (p *pool) dropReturned(hints []backend.Hint) {
	if last := hints[len(hints)-1].Session; last > p.session {
		p.session = last
		p.hinted = slices.DeleteFunc(p.hinted, p.returned)
	}
}

// returned reports whether a hint has returned to the queue. The caller holds p.mu.
func (p *pool) returned(h backend.Hint) bool { return h.Session < p.session }

// dropHint drops a hint with an invalid id, or one that the store refuses. If its task exists, it is found by
// polling. The first dropped hint is logged, and then at 10, 100, 1000 and so on.
func (e *Engine) dropHint(queue string, h backend.Hint, err error) {
	h.Done()
	n := e.badHints.Add(1)
	for ; n%10 == 0; n /= 10 {
	}
	if n != 1 {
		return
	}
	e.Log.Warn("dropped a hint with an invalid id or one that the store refused",
		"queue", queue, "id", fmt.Sprintf("%+.80q", h.ID),
		"error", err, "dropped", e.badHints.Load())
}
