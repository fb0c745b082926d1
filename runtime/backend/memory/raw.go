package memory

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// redeliverAfter is how long a raw message rests that its receiver refused.
const redeliverAfter = 50 * time.Millisecond

// raw has the raw messages of one queue. transport.mu guards it.
type raw struct {
	waiting []json.RawMessage
	changed chan struct{} // closed when a message comes
}

func (t *transport) rawQueue(name string) *raw {
	q := t.raw[name]
	if q == nil {
		q = &raw{changed: make(chan struct{})}
		if t.raw == nil {
			t.raw = map[string]*raw{}
		}
		t.raw[name] = q
	}
	return q
}

// put adds a message, at the front where it was there before.
func (t *transport) put(queue string, body json.RawMessage, again bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.rawQueue(queue)
	if again {
		q.waiting = slices.Insert(q.waiting, 0, body)
	} else {
		q.waiting = append(q.waiting, body)
	}
	close(q.changed)
	q.changed = make(chan struct{})
}

// Send implements backend.Transport.
func (c *carrier) Send(ctx context.Context, queue string, body json.RawMessage) error {
	if err := alive(ctx); err != nil {
		return err
	}
	c.put(queue, body, false)
	return nil
}

// Receive implements backend.Transport: one message after the other.
func (c *carrier) Receive(ctx context.Context, queue string, fn func(context.Context, json.RawMessage) error) error {
	for {
		if err := alive(ctx); err != nil {
			return err
		}
		if up, _ := c.State(); !up {
			return backend.Errorf(backend.ErrUnavailable, "receiving from queue %q has ended", queue)
		}
		c.mu.Lock()
		q := c.rawQueue(queue)
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
			c.handle(ctx, queue, body, fn)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-c.closed:
		}
	}
}

// handle gives a message to fn, and puts it back unless fn returns nil, however fn ends.
func (c *carrier) handle(ctx context.Context, queue string, body json.RawMessage, fn func(context.Context, json.RawMessage) error) {
	ok := false
	defer func() {
		switch {
		case ok:
		case ctx.Err() != nil:
			c.put(queue, body, true)
		default:
			time.AfterFunc(redeliverAfter, func() { c.put(queue, body, true) })
		}
	}()
	ok = fn(ctx, body) == nil
}
