package amqp

import (
	"context"
	"encoding/json"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	rawWindow      = 4                     // prefetch: the message being handled, and failed ones that wait
	redeliverAfter = 50 * time.Millisecond // how long a failed message waits before it is requeued
)

// Receive implements backend.Transport. It handles one message at a time, across generations. It returns when ctx or
// the Conn ends, or when the broker rejects the consumer.
func (t *transport) Receive(ctx context.Context, queue string, fn func(context.Context, json.RawMessage) error) error {
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
		r, err := t.receiver(ctx, g, prefixRaw+queue)
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

// A receiver is a consumer of raw messages in one generation.
type receiver struct {
	gen        *generation
	ch         *amqp091.Channel
	deliveries <-chan amqp091.Delivery
	retries    []retry // ordered by time
}

// A retry is a failed message and the time at which it is requeued.
type retry struct {
	tag   uint64
	until time.Time
}

// receiver opens a channel and consumes, on another goroutine, since the library's calls take no context.
func (t *transport) receiver(ctx context.Context, g *generation, name string) (*receiver, *backend.Error) {
	if err := g.ensureQueue(ctx, name, t.rawArgs()); err != nil {
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
		return nil, contextError(ctx, "receiving", backend.OutcomeNotSent)
	}
}

// run passes messages to fn until ctx, the generation or the channel ends. Messages that were not acknowledged return
// to the queue, even if fn panics.
func (r *receiver) run(ctx context.Context, fn func(context.Context, json.RawMessage) error) {
	defer r.gen.dispose(r.ch)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case d, ok := <-r.deliveries:
			if !ok {
				return
			}
			if v, length := parsePlaceholder(d.Body); v != accepted {
				r.gen.conn.log.Error("rejected oversized raw message, lost unless its queue has a dead-letter exchange",
					"queue", d.RoutingKey, "bytes", length, "most", backend.MaxMessage)
				if r.ch.Reject(d.DeliveryTag, false) != nil {
					return
				}
			} else if fn(ctx, d.Body) != nil {
				r.retries = append(r.retries, retry{d.DeliveryTag, time.Now().Add(redeliverAfter)})
			} else if r.ch.Ack(d.DeliveryTag, false) != nil {
				return
			}
		case <-timer.C:
		case <-r.gen.lost:
			return
		case <-ctx.Done():
			return
		}
		for len(r.retries) > 0 && !time.Now().Before(r.retries[0].until) {
			if r.ch.Nack(r.retries[0].tag, false, true) != nil {
				return
			}
			r.retries = r.retries[1:]
		}
		if len(r.retries) > 0 {
			timer.Reset(time.Until(r.retries[0].until))
		}
	}
}
