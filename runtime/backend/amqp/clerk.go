package amqp

import (
	"context"
	"errors"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// clerkQueue is how many questions wait for the clerk.
const clerkQueue = 64

// A clerk declares queues and looks at them, on a channel of its own: a question about a queue that isn't there closes the
// channel that it was asked on. It uses the connection that the broker goes on reading when it is short of memory.
type clerk struct {
	gen   *generation
	link  *link
	brief bool // each job has a channel of its own
	jobs  chan job
}

type job func(ch *amqp091.Channel)

// ask has the clerk do something. An error is an *Error, or the library's.
func ask[T any](ctx context.Context, k *clerk, do func(ch *amqp091.Channel) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	came := make(chan answer, 1)
	var none T
	select {
	case k.jobs <- func(ch *amqp091.Channel) {
		v, err := do(ch)
		came <- answer{v, err}
	}:
	case <-k.gen.lost:
		return none, unavailable(k.gen.err)
	case <-k.blocking():
		return none, backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s takes no messages now", k.gen.target)
	case <-ctx.Done():
		return none, gaveUp(ctx, "waiting to ask RabbitMQ", backend.OutcomeNotSent)
	}
	select {
	case a := <-came:
		return a.value, a.err
	case <-k.gen.lost:
		return none, unavailable(k.gen.err)
	case <-k.blocking():
		return none, backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s takes no messages now", k.gen.target)
	case <-ctx.Done():
		return none, gaveUp(ctx, "waiting for RabbitMQ", backend.OutcomeNotSent)
	}
}

// blocking returns a channel that is closed while the broker doesn't read what the clerk writes.
func (k *clerk) blocking() <-chan struct{} {
	if k.link == k.gen.publish {
		return k.gen.blocking()
	}
	return nil
}

func (k *clerk) run() {
	var ch *amqp091.Channel
	for {
		select {
		case do := <-k.jobs:
			if ch == nil || ch.IsClosed() {
				var err error
				if ch, err = k.link.Channel(); err != nil {
					k.gen.end(backend.Errorf(backend.ErrUnavailable, "opening a channel at %s: %w", k.gen.target, err))
					return
				}
			}
			do(ch)
			if k.brief {
				_ = ch.Close() // or it is closed
				ch = nil
			}
		case <-k.gen.lost:
			return
		}
	}
}

// look returns how a queue stands; ok is false when it isn't there.
func (k *clerk) look(ctx context.Context, name string) (q amqp091.Queue, ok bool, err error) {
	q, err = ask(ctx, k, func(ch *amqp091.Channel) (amqp091.Queue, error) {
		return ch.QueueDeclarePassive(name, true, false, false, false, nil)
	})
	if e, is := errors.AsType[*amqp091.Error](err); is && e.Code == amqp091.NotFound {
		return q, false, nil
	}
	return q, err == nil, err
}

// durable sees to it that a durable queue is there. One Conn declares one at a time: RabbitMQ 3.10 ends connections that
// declare a new quorum queue at once.
func (g *generation) durable(ctx context.Context, name string, args amqp091.Table) *backend.Error {
	g.mu.Lock()
	known := g.declared[name]
	g.mu.Unlock()
	if known {
		return nil
	}
	_, err := ask(ctx, g.clerk, func(ch *amqp091.Channel) (amqp091.Queue, error) {
		return ch.QueueDeclare(name, true, false, false, false, args)
	})
	if err != nil {
		return asError(explainQueue(name, err), backend.ErrUnavailable, "declaring queue "+name, backend.OutcomeNotSent)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.declared[name] = true
	return nil
}

// forget says that a queue may have gone.
func (g *generation) forget(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.declared, name)
}

// explainQueue says what the broker has against a queue; other errors stay as they are.
func explainQueue(name string, err error) error {
	e, ok := errors.AsType[*amqp091.Error](err)
	if !ok {
		return err
	}
	switch e.Code {
	case amqp091.PreconditionFailed:
		return backend.Errorf(backend.ErrFailedPrecondition,
			"queue %q is there with other arguments, perhaps of another kind (classic or quorum): delete it, or agree on one: %s", name, e.Reason)
	case amqp091.AccessRefused:
		return backend.Errorf(backend.ErrPermissionDenied, "queue %q: the user lacks a permission (docs/servers.md, Permissions): %s", name, e.Reason)
	case amqp091.ResourceLocked:
		return backend.Errorf(backend.ErrFailedPrecondition, "queue %q belongs to one connection only: %s", name, e.Reason)
	}
	return err
}
