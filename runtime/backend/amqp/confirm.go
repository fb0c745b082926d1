package amqp

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// maxUnconfirmed is how many messages may await confirmation. One at a time would cost a round trip each, and on a
// durable queue a write to disk.
const maxUnconfirmed = 256

// A confirmer publishes messages that the broker confirms. All are mandatory, so that a message without a queue is
// returned.
type confirmer struct {
	gen         *generation
	queue       chan *confirmedPublishing
	unconfirmed chan *confirmedPublishing // in the order of publishing
	returns     chan amqp091.Return
	number      uint64 // of the last message; owned by the publishing goroutine

	// When the message that is being written, and the one whose confirmation is awaited, were published: nanoseconds
	// since the generation was born, or 0.
	writing, awaited atomic.Int64
}

// A confirmedPublishing is one message of a batch.
type confirmedPublishing struct {
	publishing
	batch      *batch
	number     string // header by which a returned message is recognised
	sent       *amqp091.DeferredConfirmation
	at         int64 // when it was published; see confirmer.writing
	accepted   bool  // valid once the batch is done
	unroutable bool  // returned: it has no queue
}

// A batch is a set of messages published together.
type batch struct {
	unfinished atomic.Int64
	done       chan struct{}
}

func (p *confirmedPublishing) finish() {
	if p.batch.unfinished.Add(-1) == 0 {
		close(p.batch.done)
	}
}

// oldest returns the age of the oldest message that is written or unconfirmed.
func (c *confirmer) oldest() time.Duration {
	at := c.awaited.Load()
	if at == 0 {
		at = c.writing.Load()
	}
	if at == 0 {
		return 0
	}
	return time.Since(c.gen.born) - time.Duration(at)
}

func newConfirmer(g *generation, ch *amqp091.Channel) (*confirmer, error) {
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	c := &confirmer{
		gen: g, queue: make(chan *confirmedPublishing, publisherQueue),
		unconfirmed: make(chan *confirmedPublishing, maxUnconfirmed),
		returns:     ch.NotifyReturn(make(chan amqp091.Return, maxUnconfirmed)),
	}
	g.endOnClose("confirmed publishing", ch)
	g.spawn(func() { c.publish(ch) })
	g.spawn(c.confirm)
	return c, nil
}

// send publishes a batch and waits for its confirmations. On success each message has its result. An error means that
// the results of some messages are unknown.
func (c *confirmer) send(ctx context.Context, messages []*confirmedPublishing) *backend.Error {
	b := &batch{done: make(chan struct{})}
	b.unfinished.Store(int64(len(messages)))
	if len(messages) == 0 {
		return nil
	}
	for i, p := range messages {
		p.batch, p.mandatory = b, true
		select {
		case c.queue <- p:
			continue
		case <-c.gen.lost:
		case <-c.gen.stalling():
		case <-ctx.Done():
		}
		return c.stopped(ctx, messages[:i])
	}
	select {
	case <-b.done:
		return nil
	case <-c.gen.lost:
	case <-c.gen.stalling():
	case <-ctx.Done():
	}
	return c.stopped(ctx, messages)
}

// stopped returns the error of a batch that was interrupted. queued are the messages that had been queued.
func (c *confirmer) stopped(ctx context.Context, queued []*confirmedPublishing) *backend.Error {
	o := backend.OutcomeNotSent
	for _, p := range queued {
		if !p.withdraw() {
			o = backend.OutcomeUnknown
		}
	}
	switch {
	case c.gen.hasEnded():
		return unavailable(c.gen.err).With(o)
	case ctx.Err() != nil:
		return contextError(ctx, "waiting for RabbitMQ to confirm", o)
	}
	return c.gen.stallError().With(o)
}

func (c *confirmer) publish(ch *amqp091.Channel) {
	for {
		var p *confirmedPublishing
		select {
		case p = <-c.queue:
		case <-c.gen.lost:
			return
		}
		if !p.state.CompareAndSwap(waiting, begun) {
			continue
		}
		c.number++
		p.number = strconv.FormatUint(c.number, 10)
		if p.msg.Headers == nil {
			p.msg.Headers = amqp091.Table{}
		}
		p.msg.Headers[hNumber] = p.number
		p.at = max(int64(time.Since(c.gen.born)), 1)
		c.writing.Store(p.at)
		var err error
		if p.sent, err = ch.PublishWithDeferredConfirm(p.exchange, p.key, true, false, p.msg); err != nil {
			c.gen.end(backend.Errorf(backend.ErrUnavailable, "publishing to RabbitMQ at %s: %w", c.gen.target, err))
			return
		}
		c.writing.Store(0)
		select {
		case c.unconfirmed <- p:
		case <-c.gen.lost:
			return
		}
	}
}

// confirm records the results of messages in order. It uses deferred confirmations: the library's own listener reports
// a rejected message as accepted if later messages are confirmed together with it.
func (c *confirmer) confirm() {
	returned := map[string]bool{}
	for {
		var p *confirmedPublishing
		select {
		case p = <-c.unconfirmed:
		case r, ok := <-c.returns:
			if !ok {
				return
			}
			returned[text(r.Headers[hNumber])] = true
			continue
		case <-c.gen.lost:
			return
		}
		c.awaited.Store(p.at)
		for open := true; open; {
			select {
			case r, ok := <-c.returns:
				if !ok {
					return
				}
				returned[text(r.Headers[hNumber])] = true
			case <-p.sent.Done():
				open = false
			case <-c.gen.lost:
				return
			}
		}
		// The broker returns a message before confirming it, and the library keeps that order.
		for open := true; open; {
			select {
			case r, ok := <-c.returns:
				if !ok {
					return
				}
				returned[text(r.Headers[hNumber])] = true
			default:
				open = false
			}
		}
		c.awaited.Store(0)
		p.unroutable = returned[p.number]
		delete(returned, p.number)
		p.accepted = p.sent.Acked() && !p.unroutable
		p.finish()
	}
}
