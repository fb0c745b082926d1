package amqp

import (
	"context"
	"strconv"
	"sync/atomic"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// maxUnconfirmed is how many messages are published ahead of their confirmation: one at a time would cost a round trip
// each, and on a durable queue a write to disk.
const maxUnconfirmed = 256

// A confirmer publishes messages that the broker confirms. All are mandatory, so that a message without a queue comes back.
type confirmer struct {
	gen         *generation
	queue       chan *parcel
	unconfirmed chan *parcel // in the order of publishing
	returns     chan amqp091.Return
	number      uint64 // of the last parcel; the publishing goroutine's
}

// A parcel is a letter of a batch.
type parcel struct {
	letter
	batch    *batch
	number   string // in a header, by which it is known when it is returned
	sent     *amqp091.DeferredConfirmation
	taken    bool // readable once the batch is done
	homeless bool // there was no queue for it
}

// A batch is what is published together.
type batch struct {
	left atomic.Int64
	done chan struct{}
}

func (p *parcel) settle() {
	if p.batch.left.Add(-1) == 0 {
		close(p.batch.done)
	}
}

func newConfirmer(g *generation, ch *amqp091.Channel) (*confirmer, error) {
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	f := &confirmer{
		gen: g, queue: make(chan *parcel, outletQueue), unconfirmed: make(chan *parcel, maxUnconfirmed),
		returns: ch.NotifyReturn(make(chan amqp091.Return, maxUnconfirmed)),
	}
	g.own("confirmed publishing", ch)
	g.begin(func() { f.publish(ch) })
	g.begin(f.confirm)
	return f, nil
}

// send publishes a batch and waits for what the broker says of it. An error means that it is not known of all; what is
// known stands in the parcels that were taken, once the batch is done.
func (f *confirmer) send(ctx context.Context, parcels []*parcel) *backend.Error {
	b := &batch{done: make(chan struct{})}
	b.left.Store(int64(len(parcels)))
	if len(parcels) == 0 {
		return nil
	}
	for i, p := range parcels {
		p.batch, p.mandatory = b, true
		select {
		case f.queue <- p:
			continue
		case <-f.gen.lost:
		case <-f.gen.blocking():
		case <-ctx.Done():
		}
		return f.stopped(ctx, parcels[:i])
	}
	select {
	case <-b.done:
		return nil
	case <-f.gen.lost:
	case <-f.gen.blocking():
	case <-ctx.Done():
	}
	return f.stopped(ctx, parcels)
}

// stopped is the error of a batch that was not confirmed, of which some parcels were queued.
func (f *confirmer) stopped(ctx context.Context, queued []*parcel) *backend.Error {
	o := backend.OutcomeNotSent
	for _, p := range queued {
		if !p.withdraw() {
			o = backend.OutcomeUnknown
		}
	}
	switch {
	case f.gen.hasEnded():
		return unavailable(f.gen.err).With(o)
	case ctx.Err() != nil:
		return gaveUp(ctx, "waiting for RabbitMQ to confirm", o)
	}
	return backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s takes no messages now", f.gen.target).With(o)
}

func (f *confirmer) publish(ch *amqp091.Channel) {
	for {
		var p *parcel
		select {
		case p = <-f.queue:
		case <-f.gen.lost:
			return
		}
		if !p.state.CompareAndSwap(waiting, begun) {
			continue
		}
		f.number++
		p.number = strconv.FormatUint(f.number, 10)
		if p.msg.Headers == nil {
			p.msg.Headers = amqp091.Table{}
		}
		p.msg.Headers[hNumber] = p.number
		var err error
		if p.sent, err = ch.PublishWithDeferredConfirm(p.exchange, p.key, true, false, p.msg); err != nil {
			f.gen.end(backend.Errorf(backend.ErrUnavailable, "publishing to RabbitMQ at %s: %w", f.gen.target, err))
			return
		}
		select {
		case f.unconfirmed <- p:
		case <-f.gen.lost:
			return
		}
	}
}

// confirm learns in order what became of the parcels. The library's own listener for confirmations reports one that was
// refused as taken where later ones are confirmed together; its deferred confirmations don't.
func (f *confirmer) confirm() {
	returned := map[string]bool{}
	for {
		var p *parcel
		select {
		case p = <-f.unconfirmed:
		case r, ok := <-f.returns:
			if !ok {
				return
			}
			returned[text(r.Headers[hNumber])] = true
			continue
		case <-f.gen.lost:
			return
		}
		for open := true; open; {
			select {
			case r, ok := <-f.returns:
				if !ok {
					return
				}
				returned[text(r.Headers[hNumber])] = true
			case <-p.sent.Done():
				open = false
			case <-f.gen.lost:
				return
			}
		}
		// The broker returns a message before it confirms it, and so does the library.
		for open := true; open; {
			select {
			case r, ok := <-f.returns:
				if !ok {
					return
				}
				returned[text(r.Headers[hNumber])] = true
			default:
				open = false
			}
		}
		p.homeless = returned[p.number]
		delete(returned, p.number)
		p.taken = p.sent.Acked() && !p.homeless
		p.settle()
	}
}
