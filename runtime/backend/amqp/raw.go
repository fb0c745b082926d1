package amqp

import (
	"context"
	"encoding/json"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	rawWindow      = 4                     // messages at one receiver: the one in hand, and those that failed and rest
	redeliverAfter = 50 * time.Millisecond // how long a message rests that its receiver refused
)

// Receive implements backend.Transport: one message after the other, through all generations. It returns when ctx or the
// Conn ends, or when the broker refuses.
func (t *transport) Receive(ctx context.Context, queue string, fn func(context.Context, json.RawMessage) error) error {
	if err := checkQueue(prefixRaw, queue); err != nil {
		return err
	}
	for {
		g := t.conn.await(ctx, nil)
		if ctx.Err() != nil {
			return gaveUp(ctx, "receiving from queue "+queue, backend.OutcomeNotSent)
		}
		if g == nil {
			return errClosed()
		}
		r, err := t.receiver(ctx, g, prefixRaw+queue)
		switch {
		case err == nil:
			r.receive(ctx, fn)
		case g.hasEnded() || ctx.Err() != nil:
		default:
			return err
		}
		g.forget(prefixRaw + queue) // which may be why it has ended
		select {
		case <-time.After(resubscribeFirst):
		case <-ctx.Done():
		}
	}
}

// A receiver is a consumer of raw messages in one generation.
type receiver struct {
	gen        *generation
	ch         *amqp091.Channel
	deliveries <-chan amqp091.Delivery
	resting    []rest // in the order of their ends
}

// A rest is a message that was refused, and when it goes back.
type rest struct {
	tag   uint64
	until time.Time
}

// receiver opens a channel and consumes. The library's calls know no context, so another goroutine makes them.
func (t *transport) receiver(ctx context.Context, g *generation, name string) (*receiver, *backend.Error) {
	if err := g.durable(ctx, name, t.rawArgs()); err != nil {
		return nil, err
	}
	type answer struct {
		r   *receiver
		err error
	}
	came := make(chan answer) // unbuffered: what nobody takes is closed
	g.begin(func() {
		ch, err := g.consume.Channel()
		if err == nil {
			err = ch.Qos(rawWindow, 0, false)
		}
		r := &receiver{gen: g, ch: ch}
		if err == nil {
			r.deliveries, err = ch.Consume(name, "", false, false, false, false, nil)
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
		return nil, gaveUp(ctx, "receiving", backend.OutcomeNotSent)
	}
}

// receive hands messages to fn until ctx, the generation or the channel ends. However fn ends: what was not acknowledged
// goes back to the queue.
func (r *receiver) receive(ctx context.Context, fn func(context.Context, json.RawMessage) error) {
	defer r.gen.dispose(r.ch)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case d, ok := <-r.deliveries:
			if !ok {
				return
			}
			if v, length := cutOff(d.Body); v != taken {
				r.gen.conn.log.Error("a raw message is too large and was rejected: it is gone unless its queue has a dead-letter exchange",
					"queue", d.RoutingKey, "bytes", length, "most", backend.MaxMessage)
				if r.ch.Reject(d.DeliveryTag, false) != nil {
					return
				}
			} else if fn(ctx, d.Body) != nil {
				r.resting = append(r.resting, rest{d.DeliveryTag, time.Now().Add(redeliverAfter)})
			} else if r.ch.Ack(d.DeliveryTag, false) != nil {
				return
			}
		case <-timer.C:
		case <-r.gen.lost:
			return
		case <-ctx.Done():
			return
		}
		for len(r.resting) > 0 && !time.Now().Before(r.resting[0].until) {
			if r.ch.Nack(r.resting[0].tag, false, true) != nil {
				return
			}
			r.resting = r.resting[1:]
		}
		if len(r.resting) > 0 {
			timer.Reset(time.Until(r.resting[0].until))
		}
	}
}
