package amqp

import (
	"context"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A listener receives the hints of a queue, across generations.
type listener struct {
	conn  *Conn
	args  amqp091.Table
	queue string
	ctx   context.Context // cancelled by Close
	close context.CancelFunc
	ended chan struct{} // closed when run has returned
	wake  signal.Signal // wakes run

	mu      sync.Mutex
	window  int
	session int               // of sub or, if there is none, the last one
	sub     *hintSubscription // nil while there is none
	changed chan struct{}     // closed when Next may have more to return
}

// A hintSubscription is a listener's consumer in one generation. listener.mu guards buffered, unacked and acks; the
// listener's goroutine owns the other fields. Hints of a subscription that has ended can't be acknowledged and are
// delivered again.
type hintSubscription struct {
	gen        *generation
	ch         *amqp091.Channel
	tag        string // of the consumer; empty if the window is 0
	share      *share // of the Conn's budget
	window     int    // of the consumer
	deliveries <-chan amqp091.Delivery

	buffered []amqp091.Delivery // not yet returned by Next
	unacked  int                // number of hints returned and not yet done
	acks     []uint64           // delivery tags to acknowledge
}

// Listen implements backend.Transport. If the broker is down, it returns at once, and hints arrive when the broker is
// back.
func (t *transport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	if err := checkQueue(t.hintPrefix(), queue); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, contextError(ctx, "listening", backend.OutcomeNotSent)
	}
	l := &listener{
		conn: t.conn, args: t.hintArgs(), queue: t.hintPrefix() + queue, window: max(window, 0),
		ended: make(chan struct{}), wake: signal.New(), changed: make(chan struct{}),
	}
	l.ctx, l.close = context.WithCancel(t.conn.ctx)
	first := make(chan error, 1)
	if !t.conn.spawn(func() { l.run(first) }) {
		l.close()
		return nil, errClosed()
	}
	select {
	case err := <-first:
		if err != nil {
			l.close()
			return nil, err
		}
		return l, nil
	case <-ctx.Done():
		l.close()
		return nil, contextError(ctx, "listening", backend.OutcomeNotSent)
	}
}

// run listens in one generation after another. first receives the result of the first attempt, as in serving.run.
func (l *listener) run(first chan<- error) {
	defer close(l.ended)
	defer l.conn.setConsumeErr(l, nil)
	l.conn.countDeaf(1)
	defer l.conn.countDeaf(-1)
	report := func(err error) {
		select {
		case first <- err:
		default:
		}
	}
	for pause := resubscribeFirst; l.ctx.Err() == nil; {
		if _, err := l.conn.usable(); err != nil {
			report(nil)
		}
		g := l.conn.awaitGeneration(l.ctx, nil)
		if g == nil {
			break
		}
		sub, err := l.subscribe(g)
		switch {
		case err == nil:
			l.conn.countDeaf(-1)
			report(nil)
			l.conn.setConsumeErr(l, nil)
			pause = resubscribeFirst
			l.consumeFrom(sub)
			l.conn.countDeaf(1)
		case g.hasEnded() || l.ctx.Err() != nil:
			report(nil)
		case g.isStalled():
			report(nil)
			g.awaitResponsive(l.ctx)
		default:
			report(err)
			l.conn.setConsumeErr(l, err)
			l.conn.log.Warn("subscribing to hints failed", "queue", l.queue, "error", err)
			pause = min(2*pause, resubscribeMost)
		}
		g.forgetQueue(l.queue) // it may have been deleted
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
		}
	}
	report(nil)
}

// countDeaf adds to the number of listeners that don't consume.
func (c *Conn) countDeaf(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf += n
	c.notify()
}

func (l *listener) subscribe(g *generation) (*hintSubscription, error) {
	if err := g.ensureQueue(l.ctx, l.queue, l.args); err != nil {
		return nil, err
	}
	ch, err := g.consume.Channel()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	h := &hintSubscription{gen: g, ch: ch, window: l.window}
	l.mu.Unlock()
	if err = h.consume(l.queue, h.window); err != nil {
		h.closeShare()
		g.dispose(ch)
		return nil, asError(explainQueue(l.queue, err), backend.ErrUnavailable, "listening", backend.OutcomeNotSent)
	}
	return h, nil
}

// consume starts a consumer with a window. A window of 0 needs no consumer.
func (h *hintSubscription) consume(queue string, window int) error {
	h.closeShare()
	if window == 0 {
		h.tag, h.window, h.deliveries = "", 0, nil
		return nil
	}
	if err := h.ch.Qos(min(window, 65535), 0, false); err != nil {
		return err
	}
	tag := newID() // a new one, since the library keeps the deliveries of a tag until they are read
	h.share = h.gen.conn.budget.open(tag, maxHintBody, false)
	deliveries, err := h.ch.Consume(queue, tag, false, false, false, false, nil)
	if err == nil {
		h.tag, h.window, h.deliveries = tag, window, deliveries
	}
	return err
}

// closeShare closes the share of a consumer that has ended.
func (h *hintSubscription) closeShare() {
	if h.share != nil {
		h.share.close()
		h.share = nil
	}
}

// consumeFrom receives hints until the generation or the channel ends, or the listener is closed.
func (l *listener) consumeFrom(h *hintSubscription) {
	l.setSubscription(h)
	defer l.clearSubscription(h)
	for {
		select {
		case d, ok := <-h.deliveries:
			if !ok {
				return // the queue was deleted, or the channel has ended
			}
			l.bufferHint(h, d)
		case <-l.wake.C():
		case <-h.gen.lost:
			return
		case <-l.ctx.Done():
			return
		}
		if !l.acknowledge(h) || !l.applyWindow(h) {
			return
		}
	}
}

// setSubscription makes Next return hints of h.
func (l *listener) setSubscription(h *hintSubscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sub = h
	l.session++
	l.notify()
}

// clearSubscription ends h. Its unacknowledged hints return to the queue.
func (l *listener) clearSubscription(h *hintSubscription) {
	l.acknowledge(h)
	l.mu.Lock()
	l.sub = nil
	l.notify()
	l.mu.Unlock()
	h.closeShare()
	h.gen.dispose(h.ch)
}

// notify wakes callers of Next. The caller holds mu.
func (l *listener) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// bufferHint keeps a hint for Next. It drops messages that are too large for a hint.
func (l *listener) bufferHint(h *hintSubscription, d amqp091.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, length := parsePlaceholder(d.Body); v != accepted {
		l.conn.log.Warn("dropped a message that is too large for a hint", "queue", l.queue, "bytes", length)
		h.acks = append(h.acks, d.DeliveryTag)
		return
	}
	h.buffered = append(h.buffered, d)
	l.notify()
}

// acknowledge sends pending acknowledgements. It returns false if the channel has ended.
func (l *listener) acknowledge(h *hintSubscription) bool {
	l.mu.Lock()
	acks := h.acks
	h.acks = nil
	l.mu.Unlock()
	return len(acks) == 0 || h.gen.acknowledge(h.ch, 0, false, acks)
}

// applyWindow makes the consumer's window that of the listener. The prefetch of a consumer can't change, so it starts a
// new consumer. Deliveries of the old one can still be acknowledged and don't count against the new prefetch. Those
// beyond the new window that Next hasn't returned go back to the queue. applyWindow returns false if the channel has
// ended.
func (l *listener) applyWindow(h *hintSubscription) bool {
	l.mu.Lock()
	window := l.window
	l.mu.Unlock()
	if window == h.window {
		return true
	}
	if old := h.deliveries; old != nil {
		if h.ch.Cancel(h.tag, false) != nil {
			return false
		}
		for d := range old { // deliveries in transit
			l.bufferHint(h, d)
		}
	}
	l.mu.Lock()
	keep := min(max(window-h.unacked, 0), len(h.buffered))
	back := h.buffered[keep:]
	h.buffered = h.buffered[:keep:keep]
	l.mu.Unlock()
	for _, d := range back {
		if h.ch.Nack(d.DeliveryTag, false, true) != nil {
			return false
		}
	}
	return h.consume(l.queue, window) == nil
}

// Next implements backend.Listener.
func (l *listener) Next(ctx context.Context, most int) ([]backend.Hint, error) {
	for {
		if ctx.Err() != nil {
			return nil, contextError(ctx, "waiting for hints", backend.OutcomeNotSent)
		}
		if l.ctx.Err() != nil {
			return nil, l.closedError()
		}
		l.mu.Lock()
		hints, changed := l.take(most), l.changed
		l.mu.Unlock()
		if len(hints) > 0 {
			return hints, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-l.ctx.Done():
		}
	}
}

// take returns buffered hints, within the window. The caller holds mu.
func (l *listener) take(most int) []backend.Hint {
	h := l.sub
	if h == nil {
		return nil
	}
	n := min(most, len(h.buffered), l.window-h.unacked)
	if n <= 0 {
		return nil
	}
	hints := make([]backend.Hint, n)
	for i := range hints {
		d := &h.buffered[i]
		tag, once := d.DeliveryTag, sync.Once{}
		hints[i] = backend.Hint{
			ID: string(d.Body), Redelivered: d.Redelivered, Session: l.session,
			Done: func() { once.Do(func() { l.done(h, tag) }) },
		}
	}
	h.buffered = append(h.buffered[:0:0], h.buffered[n:]...)
	h.unacked += n
	return hints
}

// done schedules the acknowledgement of a hint.
func (l *listener) done(h *hintSubscription, tag uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.unacked--
	if l.sub != h {
		return
	}
	h.acks = append(h.acks, tag)
	l.notify()
	l.wake.Set()
}

// Resize implements backend.Listener. Next observes the new window when Resize returns; the consumer follows.
func (l *listener) Resize(ctx context.Context, window int) error {
	if ctx.Err() != nil {
		return contextError(ctx, "resizing", backend.OutcomeNotSent)
	}
	if l.ctx.Err() != nil {
		return l.closedError()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window = max(window, 0)
	l.notify()
	l.wake.Set()
	return nil
}

// Close implements backend.Listener.
func (l *listener) Close() error {
	l.close()
	<-l.ended
	return nil
}

func (l *listener) closedError() *backend.Error {
	return backend.Errorf(backend.ErrUnavailable, "the listener of queue %q is closed", l.queue).
		With(backend.OutcomeNotSent)
}
