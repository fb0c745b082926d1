package amqp

import (
	"context"
	"errors"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// declarerQueue is the capacity of a declarer's job queue.
const declarerQueue = 64

// A declarer declares and inspects queues on a channel that nothing else uses, since asking for a missing queue closes
// the channel. It uses the connection that the broker keeps reading while it blocks publishers.
type declarer struct {
	gen           *generation
	link          *link
	freshChannels bool // each job gets a new channel
	jobs          chan job
}

type job func(ch *amqp091.Channel)

// onChannel runs do on the declarer's channel. The error is an *Error, or one of the library.
func onChannel[T any](ctx context.Context, d *declarer, do func(ch *amqp091.Channel) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	came := make(chan answer, 1)
	var none T
	select {
	case d.jobs <- func(ch *amqp091.Channel) {
		v, err := do(ch)
		came <- answer{v, err}
	}:
	case <-d.gen.lost:
		return none, unavailable(d.gen.err)
	case <-d.stalling():
		return none, d.gen.stallError()
	case <-ctx.Done():
		return none, contextError(ctx, "waiting for a channel", backend.OutcomeNotSent)
	}
	select {
	case a := <-came:
		return a.value, a.err
	case <-d.gen.lost:
		return none, unavailable(d.gen.err)
	case <-d.stalling():
		return none, d.gen.stallError()
	case <-ctx.Done():
		return none, contextError(ctx, "waiting for RabbitMQ", backend.OutcomeNotSent)
	}
}

// stalling returns a channel that is closed while the broker doesn't read from the declarer's connection.
func (d *declarer) stalling() <-chan struct{} {
	if d.link == d.gen.publish {
		return d.gen.stalling()
	}
	return d.gen.silence()
}

func (d *declarer) run() {
	var ch *amqp091.Channel
	for {
		select {
		case do := <-d.jobs:
			if ch == nil || ch.IsClosed() {
				var err error
				if ch, err = d.link.Channel(); err != nil {
					d.gen.end(backend.Errorf(backend.ErrUnavailable, "opening a channel at %s: %w", d.gen.target, err))
					return
				}
			}
			do(ch)
			if d.freshChannels {
				_ = ch.Close()
				ch = nil
			}
		case <-d.gen.lost:
			return
		}
	}
}

// inspectQueue returns the state of a queue. ok is false if the queue doesn't exist.
func (d *declarer) inspectQueue(ctx context.Context, name string) (q amqp091.Queue, ok bool, err error) {
	q, err = onChannel(ctx, d, func(ch *amqp091.Channel) (amqp091.Queue, error) {
		return ch.QueueDeclarePassive(name, true, false, false, false, nil)
	})
	if e, is := errors.AsType[*amqp091.Error](err); is && e.Code == amqp091.NotFound {
		return q, false, nil
	}
	return q, err == nil, err
}

// ensureQueue declares a durable queue unless it is known to exist. A Conn declares one queue at a time: RabbitMQ 3.10
// closes connections that declare a new quorum queue concurrently.
func (g *generation) ensureQueue(ctx context.Context, name string, args amqp091.Table) *backend.Error {
	g.mu.Lock()
	known := g.declared[name]
	g.mu.Unlock()
	if known {
		return nil
	}
	_, err := onChannel(ctx, g.declarer, func(ch *amqp091.Channel) (amqp091.Queue, error) {
		return ch.QueueDeclare(name, true, false, false, false, args)
	})
	if isCode(err, amqp091.AccessRefused) { // a program that only submits needs no permission if its workers have run
		if _, exists, e := g.declarer.inspectQueue(ctx, name); exists && e == nil {
			err = nil
		}
	}
	if err != nil {
		return asError(explainQueue(name, err), backend.ErrUnavailable, "declaring queue "+name, backend.OutcomeNotSent)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.declared[name] = true
	return nil
}

// forgetQueue records that a queue may no longer exist.
func (g *generation) forgetQueue(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.declared, name)
}

// explainQueue returns an actionable error if the broker rejected a queue. It returns other errors unchanged.
func explainQueue(name string, err error) error {
	e, ok := errors.AsType[*amqp091.Error](err)
	if !ok {
		return err
	}
	switch e.Code {
	case amqp091.PreconditionFailed:
		return backend.Errorf(backend.ErrFailedPrecondition,
			"queue %q exists with other arguments, perhaps of the other kind (classic or quorum): "+
				"delete it, or configure the same kind: %s", name, e.Reason)
	case amqp091.AccessRefused:
		return backend.Errorf(backend.ErrPermissionDenied,
			"queue %q: the user lacks a permission (docs/servers.md, Permissions): %s", name, e.Reason)
	case amqp091.ResourceLocked:
		return backend.Errorf(backend.ErrFailedPrecondition, "queue %q is exclusive to another connection: %s", name,
			e.Reason)
	}
	return err
}
