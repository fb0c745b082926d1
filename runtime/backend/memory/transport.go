package memory

import (
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
)

// A transport is what all carriers of a world share.
type transport struct {
	bound int // of the hints with ids that wait in a queue; 0 makes hints mere wake-ups

	mu    sync.Mutex
	hints map[string]*hints
	raw   map[string]*raw
}

// A carrier is one App's end of the transport.
type carrier struct {
	*transport
	closed    chan struct{}
	listeners map[*listener]struct{} // open ones; transport.mu guards it
}

// close closes the listeners that are left. The carrier's closed is closed before.
func (c *carrier) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.listeners {
		l.leave()
	}
}

// Ids implements backend.Transport.
func (c *carrier) Ids() bool { return c.bound > 0 }

// State implements backend.Transport: memory carries until its Ports are closed.
func (c *carrier) State() (bool, <-chan struct{}) {
	select {
	case <-c.closed:
		return false, c.closed
	default:
		return true, c.closed
	}
}

// hints are those of one queue. transport.mu guards them.
type hints struct {
	waiting   []backend.Hint // with ids, first to go first; Done is unset
	unheard   bool           // a wake-up came while nobody listened
	listeners map[*listener]struct{}
	changed   chan struct{} // closed when Next may have more to return; nil while no caller waits
}

// queue returns the hints of a queue.
func (t *transport) queue(name string) *hints {
	h := t.hints[name]
	if h == nil {
		h = &hints{listeners: map[*listener]struct{}{}}
		if t.hints == nil {
			t.hints = map[string]*hints{}
		}
		t.hints[name] = h
	}
	return h
}

func (h *hints) wake() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// Hint implements backend.Transport.
func (c *carrier) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	if err := alive(ctx); err != nil {
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
		h.unheard = len(h.listeners) == 0
		for l := range h.listeners {
			l.woken = true
		}
	}
	h.wake()
	return taken, nil
}

// Depth implements backend.Transport.
func (c *carrier) Depth(ctx context.Context, queue string) (int, error) {
	if err := alive(ctx); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hints[queue]; h != nil {
		return len(h.waiting), nil
	}
	return 0, nil
}

// A listener receives the hints of a queue. transport.mu guards it.
type listener struct {
	carrier *carrier
	hints   *hints
	queue   string
	window  int
	woken   bool           // by a hint without an id
	unacked map[int]string // ids by number of delivery
	last    int            // delivery
	closed  bool
}

// Listen implements backend.Transport.
func (c *carrier) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	if err := alive(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if up, _ := c.State(); !up {
		return nil, closed(queue)
	}
	h := c.queue(queue)
	l := &listener{carrier: c, hints: h, queue: queue, window: window, woken: h.unheard, unacked: map[int]string{}}
	h.unheard = false
	h.listeners[l] = struct{}{}
	c.listeners[l] = struct{}{}
	return l, nil
}

func closed(queue string) error {
	return backend.Errorf(backend.ErrUnavailable, "listening to queue %q has ended", queue).With(backend.OutcomeNotSent)
}

// Next implements backend.Listener.
func (l *listener) Next(ctx context.Context, max int) ([]backend.Hint, error) {
	for {
		if err := alive(ctx); err != nil {
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

// take returns the hints that are there for the listener.
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
		got[i].Done = func() { l.done(delivery) }
	}
	return got
}

// done acknowledges a hint.
func (l *listener) done(delivery int) {
	l.carrier.mu.Lock()
	defer l.carrier.mu.Unlock()
	if _, ok := l.unacked[delivery]; ok {
		delete(l.unacked, delivery)
		l.hints.wake()
	}
}

// Resize implements backend.Listener.
func (l *listener) Resize(ctx context.Context, window int) error {
	if err := alive(ctx); err != nil {
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
	l.leave()
	return nil
}

// leave gives back, to the front and under suspicion, what was not acknowledged.
func (l *listener) leave() {
	if l.closed {
		return
	}
	l.closed = true
	h := l.hints
	delete(h.listeners, l)
	delete(l.carrier.listeners, l)
	if l.woken && len(h.listeners) == 0 {
		h.unheard = true
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
