package amqp

import (
	"context"
	"sync/atomic"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// publisherQueue is the capacity of a publisher's queue.
const publisherQueue = 256

// A publishing is a message to be published. It can be withdrawn until the publisher picks it up.
type publishing struct {
	exchange, key string
	mandatory     bool
	msg           amqp091.Publishing
	state         atomic.Int32
	written       chan error // capacity 1; nil if no caller waits
}

const (
	waiting int32 = iota
	begun
	withdrawn
)

// withdraw withdraws the message. It returns false if the message may have been sent.
func (p *publishing) withdraw() bool {
	return p.state.CompareAndSwap(waiting, withdrawn) || p.state.Load() == withdrawn
}

// outcome withdraws the message and returns whether it was sent.
func (p *publishing) outcome() backend.Outcome {
	if p.withdraw() {
		return backend.OutcomeNotSent
	}
	return backend.OutcomeUnknown
}

// A publisher publishes on one channel, from one goroutine, in order.
type publisher struct {
	gen   *generation
	queue chan *publishing
}

func newPublisher(g *generation, ch *amqp091.Channel) *publisher {
	p := &publisher{gen: g, queue: make(chan *publishing, publisherQueue)}
	g.endOnClose("publishing", ch)
	g.spawn(func() { p.run(ch) })
	return p
}

// send queues a message. An error means that the message will not be sent, because ctx or the generation has ended.
// After a nil error the message can still be lost with the generation.
func (p *publisher) send(ctx context.Context, m *publishing) *backend.Error {
	select {
	case p.queue <- m:
		return nil
	default:
	}
	select {
	case p.queue <- m:
		return nil
	case <-p.gen.lost:
		return unavailable(p.gen.err)
	case <-ctx.Done():
		return contextError(ctx, "waiting to publish", backend.OutcomeNotSent)
	}
}

// try queues a message if the queue isn't full.
func (p *publisher) try(m *publishing) {
	select {
	case p.queue <- m:
	default:
	}
}

// deliver queues a message and waits until it is written. After an error the message may or may not be written.
func (p *publisher) deliver(ctx context.Context, m *publishing) error {
	m.written = make(chan error, 1)
	if err := p.send(ctx, m); err != nil {
		return err
	}
	select {
	case err := <-m.written:
		return err
	case <-p.gen.lost:
		return p.gen.err
	}
}

func (p *publisher) run(ch *amqp091.Channel) {
	for {
		select {
		case m := <-p.queue:
			if !m.state.CompareAndSwap(waiting, begun) {
				continue
			}
			err := ch.Publish(m.exchange, m.key, m.mandatory, false, m.msg)
			if m.written != nil {
				m.written <- err
			}
			if err != nil { // the message is valid, so the channel or the connection has failed
				p.gen.end(backend.Errorf(backend.ErrUnavailable, "publishing to RabbitMQ at %s: %w", p.gen.target, err))
				return
			}
		case <-p.gen.lost:
			return
		}
	}
}
