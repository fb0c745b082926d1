package memory

import (
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// redeliverAfter delays the redelivery of a raw message whose receiver panicked.
const redeliverAfter = 50 * time.Millisecond

// A rawQueue holds the raw messages of one queue. transport.mu guards it.
type rawQueue struct {
	waiting []*rawMessage
	changed chan struct{} // closed when a message is added
}

// A rawMessage is a raw message that waits or is being handled.
type rawMessage struct {
	backend.Message
	failed time.Time // when a delivery first failed
}

func (t *transport) rawQueueOf(name string) *rawQueue {
	q := t.raw[name]
	if q == nil {
		q = &rawQueue{changed: make(chan struct{})}
		if t.raw == nil {
			t.raw = map[string]*rawQueue{}
		}
		t.raw[name] = q
	}
	return q
}

// putRaw adds a message, at the front if it is redelivered. It returns an error if the queue is a dead-letter queue
// that is full.
func (t *transport) putRaw(queue string, m *rawMessage, redelivered bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.rawQueueOf(queue)
	switch {
	case redelivered:
		q.waiting = slices.Insert(q.waiting, 0, m)
	case backend.IsDeadQueue(queue) && len(q.waiting) >= backend.MaxDead:
		return backend.ErrDeadFull(queue)
	default:
		q.waiting = append(q.waiting, m)
	}
	close(q.changed)
	q.changed = make(chan struct{})
	return nil
}

// Send implements backend.Transport.
func (c *appTransport) Send(ctx context.Context, queue string, m backend.Message) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	return c.putRaw(queue, &rawMessage{Message: m}, false)
}

// Receive implements backend.Transport.
func (c *appTransport) Receive(
	ctx context.Context, queue string, fn func(context.Context, *backend.Message) backend.Handled,
) error {
	for {
		if err := checkContext(ctx); err != nil {
			return err
		}
		if up, _ := c.State(); !up {
			return backend.Errorf(backend.ErrUnavailable, "receiving from queue %q: the app has shut down", queue)
		}
		c.mu.Lock()
		q := c.rawQueueOf(queue)
		changed := q.changed
		var m *rawMessage
		if len(q.waiting) > 0 {
			m = q.waiting[0]
			q.waiting[0] = nil
			q.waiting = q.waiting[1:]
		}
		c.mu.Unlock()
		if m != nil {
			c.handleRaw(ctx, queue, m, fn)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-c.closed:
		}
	}
}

// handleRaw passes a message to fn and carries out what fn returns. If fn panics or ends the goroutine, it puts the
// message back.
func (c *appTransport) handleRaw(
	ctx context.Context, queue string, m *rawMessage, fn func(context.Context, *backend.Message) backend.Handled,
) {
	m.Attempt++
	h := backend.Handled{Delay: redeliverAfter}
	defer func() {
		if h.Done {
			return
		}
		if h.Release {
			m.Attempt--
		} else if m.failed.IsZero() {
			m.failed = time.Now()
		}
		if h.Dead != nil && c.bury(queue, m, &h) {
			return
		}
		if h.Delay <= 0 {
			_ = c.putRaw(queue, m, true) // redelivered messages are not refused
			return
		}
		time.AfterFunc(h.Delay, func() { _ = c.putRaw(queue, m, true) })
	}()
	given := m.Message // fn may keep it
	h = fn(ctx, &given)
}

// bury moves a message to the dead-letter queue. It returns false if that is full.
func (c *appTransport) bury(queue string, m *rawMessage, h *backend.Handled) bool {
	dead := *h.Dead
	dead.Queue, dead.Attempts, dead.First, dead.Last = queue, m.Attempt, m.failed, time.Now()
	moved := rawMessage{Message: backend.Message{Body: m.Body, Metadata: m.Metadata, Trace: m.Trace, Dead: &dead}}
	err := c.putRaw(queue+backend.DeadSuffix, &moved, false)
	if h.Moved != nil {
		h.Moved(err)
	}
	return err == nil
}
