package amqp

import (
	"context"
	"sync/atomic"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// outletQueue is how many messages wait to be published by one outlet.
const outletQueue = 256

// A letter is a message on its way to the broker. It can be withdrawn until its publishing begins.
type letter struct {
	exchange, key string
	mandatory     bool
	msg           amqp091.Publishing
	state         atomic.Int32
	written       chan error // of capacity 1; nil: nobody waits
}

const (
	waiting int32 = iota
	begun
	withdrawn
)

// withdraw takes the letter back. False: its publishing has begun, so that it may arrive.
func (l *letter) withdraw() bool {
	return l.state.CompareAndSwap(waiting, withdrawn) || l.state.Load() == withdrawn
}

// outcome withdraws the letter and says what is known of it.
func (l *letter) outcome() backend.Outcome {
	if l.withdraw() {
		return backend.OutcomeNotSent
	}
	return backend.OutcomeUnknown
}

// An outlet publishes on one channel, from one goroutine, in order.
type outlet struct {
	gen   *generation
	queue chan *letter
}

func newOutlet(g *generation, ch *amqp091.Channel) *outlet {
	o := &outlet{gen: g, queue: make(chan *letter, outletQueue)}
	g.own("publishing", ch)
	g.begin(func() { o.run(ch) })
	return o
}

// send queues a letter. An error means that it is not sent: ctx has ended, or the generation. A nil error says nothing: the
// letter is lost with the generation.
func (o *outlet) send(ctx context.Context, l *letter) *backend.Error {
	select {
	case o.queue <- l:
		return nil
	default:
	}
	select {
	case o.queue <- l:
		return nil
	case <-o.gen.lost:
		return unavailable(o.gen.err)
	case <-ctx.Done():
		return gaveUp(ctx, "waiting to publish", backend.OutcomeNotSent)
	}
}

// try queues a letter if there is room.
func (o *outlet) try(l *letter) {
	select {
	case o.queue <- l:
	default:
	}
}

// deliver queues a letter and waits until it is written. An error means that it may not be.
func (o *outlet) deliver(ctx context.Context, l *letter) error {
	l.written = make(chan error, 1)
	if err := o.send(ctx, l); err != nil {
		return err
	}
	select {
	case err := <-l.written:
		return err
	case <-o.gen.lost:
		return o.gen.err
	}
}

func (o *outlet) run(ch *amqp091.Channel) {
	for {
		select {
		case l := <-o.queue:
			if !l.state.CompareAndSwap(waiting, begun) {
				continue
			}
			err := ch.Publish(l.exchange, l.key, l.mandatory, false, l.msg)
			if l.written != nil {
				l.written <- err
			}
			if err != nil { // nothing that was checked before: the channel or its connection
				o.gen.end(backend.Errorf(backend.ErrUnavailable, "publishing to RabbitMQ at %s: %w", o.gen.target, err))
				return
			}
		case <-o.gen.lost:
			return
		}
	}
}
