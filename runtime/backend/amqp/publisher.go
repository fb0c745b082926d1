package amqp

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	publisherQueue = 256 // capacity of a publisher's queue
	publisherBatch = 64  // most messages that share a write
)

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

// A publisher publishes on one channel. Messages wait in its queue for its goroutine. Those that are queued while it
// writes share its next write.
type publisher struct {
	gen   *generation
	ch    *amqp091.Channel
	queue chan *publishing
	busy  atomic.Bool // the last write had several messages

	mu    sync.Mutex    // held while writing
	batch []*publishing // of the current write; guarded by mu
}

func newPublisher(g *generation, ch *amqp091.Channel) *publisher {
	p := &publisher{gen: g, ch: ch, queue: make(chan *publishing, publisherQueue)}
	g.endOnClose("publishing", ch)
	g.spawn(p.run)
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

// deliver publishes a message and returns when it is written. After an error the message may or may not be written. ctx
// bounds only the waiting for a place in the queue. If the publisher is idle, deliver saves the detour over its
// goroutine, since its caller waits for the write anyway.
func (p *publisher) deliver(ctx context.Context, m *publishing) error {
	if !p.busy.Load() && len(p.queue) == 0 && p.mu.TryLock() {
		defer p.mu.Unlock()
		return p.publish(m)
	}
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

func (p *publisher) run() {
	for {
		select {
		case m := <-p.queue:
			p.mu.Lock()
			err := p.publish(m)
			p.mu.Unlock()
			if err != nil {
				return
			}
		case <-p.gen.lost:
			return
		}
	}
}

// publish publishes m and the messages queued behind it with one write. A single message is not delayed, but if the
// last write had several, it lets goroutines that are ready queue theirs first. An error ends the generation. The
// caller holds mu.
func (p *publisher) publish(m *publishing) error {
	yield := p.busy.Load()
	cork := p.gen.publish.cork
	cork.hold()
	p.batch = p.batch[:0]
	var err error
	for more := true; more; {
		if m.state.CompareAndSwap(waiting, begun) {
			p.batch = append(p.batch, m)
			if err = p.ch.Publish(m.exchange, m.key, m.mandatory, false, m.msg); err != nil {
				break
			}
		}
		if len(p.batch) == publisherBatch {
			break
		}
		if len(p.queue) == 0 && yield {
			yield = false
			runtime.Gosched()
		}
		select {
		case m = <-p.queue:
		default:
			more = false
		}
	}
	if e := cork.release(); err == nil {
		err = e
	}
	p.busy.Store(len(p.batch) > 1)
	for _, m := range p.batch {
		if m.written != nil {
			m.written <- err
		}
	}
	clear(p.batch)  // keeps no bodies
	if err != nil { // the messages are valid, so the channel or the connection has failed
		p.gen.end(backend.Errorf(backend.ErrUnavailable, "publishing to RabbitMQ at %s: %w", p.gen.target, err))
	}
	return err
}
