package amqp

import (
	"context"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A listener receives the hints of a queue, through all generations.
type listener struct {
	conn  *Conn
	args  amqp091.Table
	queue string
	ctx   context.Context // ends at Close
	close context.CancelFunc
	ended chan struct{} // closed when its goroutine has ended
	wake  signal.Signal // its goroutine has something to do

	mu      sync.Mutex
	window  int
	sub     *hearing      // nil while there is none
	changed chan struct{} // closed when Next may have more to return
}

// A hearing is a listener's consumer in one generation. listener.mu guards its held, out and acks; the rest is the
// listener's goroutine's. Hints of a hearing that is over can't be acknowledged any more: they go to somebody again.
type hearing struct {
	gen        *generation
	ch         *amqp091.Channel
	tag        string // of the consumer; "" while there is none, because the window is 0
	share      *share // of the Conn's room, with the tag
	window     int    // of the consumer
	deliveries <-chan amqp091.Delivery

	held []amqp091.Delivery // not yet given out
	out  int                // given out, and not acknowledged
	acks []uint64           // due
}

// Listen implements backend.Transport. While the broker is away it returns at once; hints come as soon as it is back.
func (t *transport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	if err := checkQueue(t.hintPrefix(), queue); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, gaveUp(ctx, "listening", backend.OutcomeNotSent)
	}
	l := &listener{
		conn: t.conn, args: t.hintArgs(), queue: t.hintPrefix() + queue, window: max(window, 0),
		ended: make(chan struct{}), wake: signal.New(), changed: make(chan struct{}),
	}
	l.ctx, l.close = context.WithCancel(t.conn.ctx)
	first := make(chan error, 1)
	if !t.conn.begin(func() { l.run(first) }) {
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
		return nil, gaveUp(ctx, "listening", backend.OutcomeNotSent)
	}
}

// run listens in one generation after the other. first gets what came of the first attempt, as in serving.run.
func (l *listener) run(first chan<- error) {
	defer close(l.ended)
	defer l.conn.trouble(l, nil)
	say := func(err error) {
		select {
		case first <- err:
		default:
		}
	}
	for pause := resubscribeFirst; l.ctx.Err() == nil; {
		if _, err := l.conn.usable(); err != nil {
			say(nil)
		}
		g := l.conn.await(l.ctx, nil)
		if g == nil {
			break
		}
		sub, err := l.subscribe(g)
		switch {
		case err == nil:
			say(nil)
			l.conn.trouble(l, nil)
			pause = resubscribeFirst
			l.attend(sub)
		case g.hasEnded() || l.ctx.Err() != nil:
			say(nil)
		default:
			say(err)
			l.conn.trouble(l, err)
			l.conn.log.Warn("hints can't be heard", "queue", l.queue, "error", err)
			pause = min(2*pause, resubscribeMost)
		}
		g.forget(l.queue) // which may be why it has ended
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
		}
	}
	say(nil)
}

func (l *listener) subscribe(g *generation) (*hearing, error) {
	if err := g.durable(l.ctx, l.queue, l.args); err != nil {
		return nil, err
	}
	ch, err := g.consume.Channel()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	h := &hearing{gen: g, ch: ch, window: l.window}
	l.mu.Unlock()
	if err = h.consume(l.queue, h.window); err != nil {
		h.forget()
		g.dispose(ch)
		return nil, asError(explainQueue(l.queue, err), backend.ErrUnavailable, "listening", backend.OutcomeNotSent)
	}
	return h, nil
}

// consume begins to consume with a window; with one of 0 there is nothing to consume.
func (h *hearing) consume(queue string, window int) error {
	h.forget()
	if window == 0 {
		h.tag, h.window, h.deliveries = "", 0, nil
		return nil
	}
	if err := h.ch.Qos(min(window, 65535), 0, false); err != nil {
		return err
	}
	tag := newID() // the library keeps a tag's deliveries until they are read, so that the next needs another
	h.share = h.gen.conn.room.open(tag, maxHintBody, false)
	deliveries, err := h.ch.Consume(queue, tag, false, false, false, false, nil)
	if err == nil {
		h.tag, h.window, h.deliveries = tag, window, deliveries
	}
	return err
}

// forget closes the share of a consumer that has ended.
func (h *hearing) forget() {
	if h.share != nil {
		h.share.close()
		h.share = nil
	}
}

// attend hears until the generation or the channel ends, or the listener is closed.
func (l *listener) attend(h *hearing) {
	l.enter(h)
	defer l.leave(h)
	for {
		select {
		case d, ok := <-h.deliveries:
			if !ok {
				return // the queue was deleted, or the channel has ended
			}
			l.hold(h, d)
		case <-l.wake.C():
		case <-h.gen.lost:
			return
		case <-l.ctx.Done():
			return
		}
		if !l.acknowledge(h) || !l.fit(h) {
			return
		}
	}
}

// enter and leave say which hearing Next gives hints of. After leave, what was not acknowledged goes back to the queue.
func (l *listener) enter(h *hearing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sub = h
	l.change()
}

func (l *listener) leave(h *hearing) {
	l.acknowledge(h)
	l.mu.Lock()
	l.sub = nil
	l.change()
	l.mu.Unlock()
	h.forget()
	h.gen.dispose(h.ch)
}

// change tells those who wait in Next. The caller holds mu.
func (l *listener) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// hold keeps a hint for Next. What is too large for one is dropped.
func (l *listener) hold(h *hearing, d amqp091.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, length := cutOff(d.Body); v != taken {
		l.conn.log.Warn("a message that is no hint was dropped", "queue", l.queue, "bytes", length)
		h.acks = append(h.acks, d.DeliveryTag)
		return
	}
	h.held = append(h.held, d)
	l.change()
}

// acknowledge acknowledges what is due. False: the channel has ended.
func (l *listener) acknowledge(h *hearing) bool {
	l.mu.Lock()
	acks := h.acks
	h.acks = nil
	l.mu.Unlock()
	for _, tag := range acks {
		if h.ch.Ack(tag, false) != nil {
			return false
		}
	}
	return true
}

// fit makes the consumer's window that of the listener: by a new consumer, since that of an old one can't change. What the
// old one got stays acknowledgeable and isn't counted against the new one; of that, what is more than the new window is given
// back unless it is out. False: the channel has ended.
func (l *listener) fit(h *hearing) bool {
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
		for d := range old { // what was on its way
			l.hold(h, d)
		}
	}
	l.mu.Lock()
	keep := min(max(window-h.out, 0), len(h.held))
	back := h.held[keep:]
	h.held = h.held[:keep:keep]
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
			return nil, gaveUp(ctx, "waiting for hints", backend.OutcomeNotSent)
		}
		if l.ctx.Err() != nil {
			return nil, backend.Errorf(backend.ErrUnavailable, "listening to %s has ended", l.queue).With(backend.OutcomeNotSent)
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

// take gives out hints that are held, within the window. The caller holds mu.
func (l *listener) take(most int) []backend.Hint {
	h := l.sub
	if h == nil {
		return nil
	}
	n := min(most, len(h.held), l.window-h.out)
	if n <= 0 {
		return nil
	}
	hints := make([]backend.Hint, n)
	for i := range hints {
		d := &h.held[i]
		tag, once := d.DeliveryTag, sync.Once{}
		hints[i] = backend.Hint{ID: string(d.Body), Redelivered: d.Redelivered, Done: func() { once.Do(func() { l.done(h, tag) }) }}
	}
	h.held = append(h.held[:0:0], h.held[n:]...)
	h.out += n
	return hints
}

// done has a hint acknowledged.
func (l *listener) done(h *hearing, tag uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.out--
	if l.sub != h {
		return
	}
	h.acks = append(h.acks, tag)
	l.change()
	l.wake.Set()
}

// Resize implements backend.Listener. A nil error means that Next keeps to the new window; the broker follows.
func (l *listener) Resize(ctx context.Context, window int) error {
	if ctx.Err() != nil {
		return gaveUp(ctx, "resizing", backend.OutcomeNotSent)
	}
	if l.ctx.Err() != nil {
		return backend.Errorf(backend.ErrUnavailable, "listening to %s has ended", l.queue).With(backend.OutcomeNotSent)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window = max(window, 0)
	l.change()
	l.wake.Set()
	return nil
}

// Close implements backend.Listener.
func (l *listener) Close() error {
	l.close()
	<-l.ended
	return nil
}
