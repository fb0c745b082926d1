package amqp

import (
	"context"
	"fmt"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	// rawWindow is the prefetch of a consumer of raw messages. A message that waits behind another would be counted as
	// delivered if the process dies, and could not go to an idle receiver.
	rawWindow = 1

	// rawEnding bounds how long a message is moved after its receiver's context has ended.
	rawEnding = time.Second
)

// Receive implements backend.Transport, across generations. It returns when ctx or the Conn ends, or when the broker
// rejects the consumer.
func (t *transport) Receive(
	ctx context.Context, queue string, fn func(context.Context, *backend.Message) backend.Handled,
) error {
	if err := checkQueue(prefixRaw, queue); err != nil {
		return err
	}
	for {
		g := t.conn.awaitGeneration(ctx, nil)
		if ctx.Err() != nil {
			return contextError(ctx, "receiving from queue "+queue, backend.OutcomeNotSent)
		}
		if g == nil {
			return errClosed()
		}
		r, err := t.receiver(ctx, g, queue)
		switch {
		case err == nil:
			r.run(ctx, fn)
		case g.hasEnded() || ctx.Err() != nil:
		case g.isStalled():
			g.awaitResponsive(ctx)
		default:
			return err
		}
		g.forgetQueue(prefixRaw + queue) // it may have been deleted
		select {
		case <-time.After(resubscribeFirst):
		case <-ctx.Done():
		}
	}
}

// A receiver receives the raw messages of one queue in one generation. All of its messages that are not acknowledged
// return to the queue when its channel is closed.
type receiver struct {
	transport  *transport
	gen        *generation
	queue      string
	ch         *amqp091.Channel
	tag        string // of the active consumer
	consumers  int    // that there have been
	deliveries <-chan amqp091.Delivery
	held       holding
}

// receiver opens a channel and consumes, on another goroutine, since the library's calls take no context.
func (t *transport) receiver(ctx context.Context, g *generation, queue string) (*receiver, *backend.Error) {
	name := prefixRaw + queue
	if err := g.ensureQueue(ctx, name, t.rawArgs(queue)); err != nil {
		return nil, err
	}
	type answer struct {
		r   *receiver
		err error
	}
	came := make(chan answer) // unbuffered: if ctx ends first, the goroutine closes the channel
	g.spawn(func() {
		ch, err := g.consume.Channel()
		if err == nil {
			err = ch.Qos(rawWindow, 0, false)
		}
		r := &receiver{transport: t, gen: g, queue: queue, ch: ch}
		if err == nil {
			err = r.subscribe(false)
		}
		if ch != nil && err != nil {
			_ = ch.Close()
		}
		select {
		case came <- answer{r, err}:
		case <-ctx.Done():
			if err == nil {
				_ = ch.Close()
			}
		case <-g.lost:
		}
	})
	select {
	case a := <-came:
		if a.err != nil {
			return nil, asError(explainQueue(name, a.err), backend.ErrUnavailable, "receiving", backend.OutcomeNotSent)
		}
		return a.r, nil
	case <-g.lost:
		return nil, unavailable(g.err)
	case <-ctx.Done():
		return nil, contextError(ctx, "receiving", backend.OutcomeNotSent)
	}
}

// subscribe starts a consumer and makes it the active one. The window applies to each consumer, so the previous one
// gets nothing more until its message is acknowledged.
func (r *receiver) subscribe(noWait bool) (err error) {
	r.consumers++
	r.tag = fmt.Sprint("raw-", r.consumers)
	r.deliveries, err = r.ch.Consume(prefixRaw+r.queue, r.tag, false, false, false, noWait, nil)
	return err
}

// run passes messages to fn until ctx, the generation or the channel ends, even if fn panics.
func (r *receiver) run(ctx context.Context, fn func(context.Context, *backend.Message) backend.Handled) {
	defer r.gen.dispose(r.ch)
	moving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	r.held.open()
	defer r.held.close()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(rawEnding, stop) })()
	for ctx.Err() == nil {
		select {
		case d, ok := <-r.deliveries:
			if !ok || !r.take(ctx, moving, &d, fn) {
				return
			}
		case <-r.gen.lost:
			return
		case <-ctx.Done():
			return
		}
	}
}

// take handles a delivery. It returns false if the receiver must end: the channel is closed, or it is unknown whether
// the message was published again.
func (r *receiver) take(
	ctx, moving context.Context, d *amqp091.Delivery, fn func(context.Context, *backend.Message) backend.Handled,
) bool {
	log := r.gen.conn.log
	if v, length := parsePlaceholder(d.Body); v != accepted {
		log.Error("rejected oversized raw message, lost unless its queue has a dead-letter exchange",
			"queue", d.RoutingKey, "bytes", length, "most", backend.MaxMessage)
		return r.ch.Reject(d.DeliveryTag, false) == nil
	}
	counted := attemptsOf(d.Headers)
	if d.Redelivered {
		// Its last receiver died, or its connection did. The broker only marks the message, so the delivery is counted
		// before there is another one: otherwise a message that kills each receiver would never be counted further.
		counted++
		err := r.move(moving, d, r.queue, retried(d, counted, true, r.now(), r.gen.maxHeaders))
		if err == nil {
			return r.ch.Ack(d.DeliveryTag, false) == nil
		}
		if err.Outcome != backend.OutcomeNotSent {
			return false
		}
		log.Warn("cannot count the delivery of a raw message", "queue", r.queue, "error", err)
	}
	m, err := decodeMessage(d)
	if err != nil {
		log.Warn("raw message delivered without its metadata", "queue", r.queue, "error", err)
	}
	m.Attempt = counted + 1
	h := fn(ctx, m)
	if h.Done {
		return r.ch.Ack(d.DeliveryTag, false) == nil
	}
	if h.Dead != nil {
		dead := deadLetter(d, r.queue, m.Attempt, h.Dead, r.now(), r.gen.maxHeaders)
		err := r.move(moving, d, r.queue+backend.DeadSuffix, dead)
		if h.Moved != nil {
			h.Moved(asPlain(err))
		}
		switch {
		case err == nil:
			return r.ch.Ack(d.DeliveryTag, false) == nil
		case err.Outcome != backend.OutcomeNotSent:
			return false
		}
	}
	if h.Release {
		counted--
	}
	msg := retried(d, counted+1, !h.Release, r.now(), r.gen.maxHeaders)
	if h.Delay <= 0 {
		return r.redeliver(moving, d, msg)
	}
	return r.hold(moving, d, msg, h.Delay)
}

// redeliver delivers a message again. It returns false if the receiver must end.
func (r *receiver) redeliver(moving context.Context, d *amqp091.Delivery, msg amqp091.Publishing) bool {
	switch err := r.move(moving, d, r.queue, msg); {
	case err == nil:
		return r.ch.Ack(d.DeliveryTag, false) == nil
	case err.Outcome != backend.OutcomeNotSent:
		return false
	default:
		r.gen.conn.log.Warn("cannot count the delivery of a raw message", "queue", r.queue, "error", err)
		return r.ch.Nack(d.DeliveryTag, false, true) == nil
	}
}

// move publishes the message of a delivery to a queue. The caller acknowledges the delivery if the error is nil, so
// that the message is in one of the queues at any time. If the outcome is unknown, the delivery must neither be
// acknowledged nor be published again.
func (r *receiver) move(ctx context.Context, d *amqp091.Delivery, queue string, msg amqp091.Publishing) *backend.Error {
	if err := checkQueue(prefixRaw, queue); err != nil {
		return err
	}
	return r.transport.publishRaw(ctx, r.gen, queue, msg)
}

func (r *receiver) now() time.Time {
	if now := r.transport.conn.config.now; now != nil {
		return now()
	}
	return time.Now()
}

// asPlain returns an *Error as an error that is nil if it is.
func asPlain(err *backend.Error) error {
	if err == nil {
		return nil
	}
	return err
}
