package memory

import (
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
)

// A transport is shared by all Apps of a Backend.
type transport struct {
	bound int // how many hints with ids wait in a queue; 0 makes hints plain wake-ups

	mu    sync.Mutex
	hints map[string]*hintQueue
	raw   map[string]*rawQueue
}

// An appTransport is one App's view of the transport.
type appTransport struct {
	*transport
	closed    chan struct{}
	listeners map[*listener]struct{} // open ones, guarded by transport.mu
}

// close closes all listeners. c.closed must be closed before.
func (c *appTransport) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.listeners {
		l.closeLocked()
	}
}

// Ids implements backend.Transport.
func (c *appTransport) Ids() bool { return c.bound > 0 }

// State implements backend.Transport: the transport is up until the Ports are closed.
func (c *appTransport) State() (bool, <-chan struct{}) {
	select {
	case <-c.closed:
		return false, c.closed
	default:
		return true, c.closed
	}
}

// A hintQueue holds the hints of one queue. transport.mu guards it.
type hintQueue struct {
	waiting      []backend.Hint // hints with ids, in order; Done is unset
	missedWakeUp bool           // a wake-up arrived while there was no listener
	listeners    map[*listener]struct{}
	changed      chan struct{} // closed when Next may return more; nil while no caller waits
}

func (t *transport) queue(name string) *hintQueue {
	h := t.hints[name]
	if h == nil {
		h = &hintQueue{listeners: map[*listener]struct{}{}}
		if t.hints == nil {
			t.hints = map[string]*hintQueue{}
		}
		t.hints[name] = h
	}
	return h
}

func (h *hintQueue) wake() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// Hint implements backend.Transport.
func (c *appTransport) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	taken := make([]bool, len(ids))
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.queue(queue)
	for i, id := range ids {
		taken[i] = c.bound == 0 || len(h.waiting) < c.bound
		if taken[i] && c.bound > 0 {
			h.waiting = append(h.waiting, backend.Hint{ID: id})
		}
	}
	if c.bound == 0 {
		h.missedWakeUp = len(h.listeners) == 0
		for l := range h.listeners {
			l.woken = true
		}
	}
	h.wake()
	return taken, nil
}

// Depth implements backend.Transport.
func (c *appTransport) Depth(ctx context.Context, queue string) (int, error) {
	if err := checkContext(ctx); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hints[queue]; h != nil {
		return len(h.waiting), nil
	}
	return 0, nil
}

// A listener receives the hints of one queue. transport.mu guards it.
type listener struct {
	carrier *appTransport
	hints   *hintQueue
	queue   string
	window  int
	woken   bool           // a wake-up arrived
	unacked map[int]string // ids by delivery number
	last    int            // number of the last delivery
	closed  bool
}

// Listen implements backend.Transport.
func (c *appTransport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if up, _ := c.State(); !up {
		return nil, closed(queue)
	}
	h := c.queue(queue)
	l := &listener{carrier: c, hints: h, queue: queue, window: window, woken: h.missedWakeUp, unacked: map[int]string{}}
	h.missedWakeUp = false
	h.listeners[l] = struct{}{}
	c.listeners[l] = struct{}{}
	return l, nil
}

func closed(queue string) error {
	return backend.Errorf(backend.ErrUnavailable, "the listener of queue %q is closed", queue).With(backend.OutcomeNotSent)
}

// Next implements backend.Listener.
func (l *listener) Next(ctx context.Context, max int) ([]backend.Hint, error) {
	for {
		if err := checkContext(ctx); err != nil {
			return nil, err
		}
		l.carrier.mu.Lock()
		if l.closed {
			l.carrier.mu.Unlock()
			return nil, closed(l.queue)
		}
		if got := l.take(max); len(got) > 0 {
			l.carrier.mu.Unlock()
			return got, nil
		}
		if l.hints.changed == nil {
			l.hints.changed = make(chan struct{})
		}
		changed := l.hints.changed
		l.carrier.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// take returns up to max hints that the listener may receive now.
func (l *listener) take(max int) []backend.Hint {
	if l.woken {
		l.woken = false
		return []backend.Hint{{Done: func() {}}}
	}
	h := l.hints
	n := min(max, len(h.waiting), l.window-len(l.unacked))
	if n <= 0 {
		return nil
	}
	got := make([]backend.Hint, n)
	copy(got, h.waiting)
	h.waiting = append(h.waiting[:0], h.waiting[n:]...)
	for i := range got {
		l.last++
		delivery := l.last
		l.unacked[delivery] = got[i].ID
		got[i].Done = func() { l.ack(delivery) }
	}
	return got
}

// ack acknowledges a delivery.
func (l *listener) ack(delivery int) {
	l.carrier.mu.Lock()
	defer l.carrier.mu.Unlock()
	if _, ok := l.unacked[delivery]; ok {
		delete(l.unacked, delivery)
		l.hints.wake()
	}
}

// Resize implements backend.Listener.
func (l *listener) Resize(ctx context.Context, window int) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	l.carrier.mu.Lock()
	defer l.carrier.mu.Unlock()
	if l.closed {
		return closed(l.queue)
	}
	l.window = window
	l.hints.wake()
	return nil
}

// Close implements backend.Listener.
func (l *listener) Close() error {
	l.carrier.mu.Lock()
	defer l.carrier.mu.Unlock()
	l.closeLocked()
	return nil
}

// closeLocked closes the listener and returns unacknowledged hints to the front of the queue, marked as redelivered.
func (l *listener) closeLocked() {
	if l.closed {
		return
	}
	l.closed = true
	h := l.hints
	delete(h.listeners, l)
	delete(l.carrier.listeners, l)
	if l.woken && len(h.listeners) == 0 {
		h.missedWakeUp = true
	}
	var back []backend.Hint
	for delivery := 1; delivery <= l.last && len(l.unacked) > 0; delivery++ {
		if id, ok := l.unacked[delivery]; ok {
			back = append(back, backend.Hint{ID: id, Redelivered: true})
			delete(l.unacked, delivery)
		}
	}
	h.waiting = append(back, h.waiting...)
	h.wake()
}
