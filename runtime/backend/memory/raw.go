package memory

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// redeliverAfter delays the redelivery of a raw message that its receiver did not accept.
const redeliverAfter = 50 * time.Millisecond

// A rawQueue holds the raw messages of one queue. transport.mu guards it.
type rawQueue struct {
	waiting []json.RawMessage
	changed chan struct{} // closed when a message is added
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

// putRaw adds a message, at the front if it is redelivered.
func (t *transport) putRaw(queue string, body json.RawMessage, redelivered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.rawQueueOf(queue)
	if redelivered {
		q.waiting = slices.Insert(q.waiting, 0, body)
	} else {
		q.waiting = append(q.waiting, body)
	}
	close(q.changed)
	q.changed = make(chan struct{})
}

// Send implements backend.Transport.
func (c *appTransport) Send(ctx context.Context, queue string, body json.RawMessage) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	c.putRaw(queue, body, false)
	return nil
}

// Receive implements backend.Transport. It handles one message at a time.
func (c *appTransport) Receive(
	ctx context.Context, queue string, fn func(context.Context, json.RawMessage) error,
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
		var body json.RawMessage
		ok := len(q.waiting) > 0
		if ok {
			body = q.waiting[0]
			q.waiting[0] = nil
			q.waiting = q.waiting[1:]
		}
		c.mu.Unlock()
		if ok {
			c.handleRaw(ctx, queue, body, fn)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-c.closed:
		}
	}
}

// handleRaw passes a message to fn and puts it back unless fn returns nil, even if fn panics or ends the goroutine.
func (c *appTransport) handleRaw(
	ctx context.Context, queue string, body json.RawMessage, fn func(context.Context, json.RawMessage) error,
) {
	ok := false
	defer func() {
		switch {
		case ok:
		case ctx.Err() != nil:
			c.putRaw(queue, body, true)
		default:
			time.AfterFunc(redeliverAfter, func() { c.putRaw(queue, body, true) })
		}
	}()
	ok = fn(ctx, body) == nil
}
