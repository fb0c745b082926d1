package amqp

import (
	"context"
	"errors"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// A user who has everything under ^af\..* makes the exchanges. Where each program has a user of its own (docs/servers.md,
// Permissions) an administrator has made them, af.rpc as a topic exchange, since RabbitMQ checks who may bind and publish by
// which key for these only. RabbitMQ answers a message that may not be published by closing its channel, which would end
// the generation and all calls in flight. So such a user's Conn asks first, on a channel of its own.

// A route is where a message is published to.
type route struct{ exchange, key string }

// exchanges has the exchanges declared. One that the user may not declare, or whose type is another, must be there.
func (g *generation) exchanges() error {
	for _, x := range []struct {
		name  string
		kinds []string // the second is what an administrator may have made it
	}{
		{exchangeCalls, []string{amqp091.ExchangeDirect, amqp091.ExchangeTopic}},
		{exchangeControl, []string{amqp091.ExchangeTopic}},
	} {
		if err := g.exchange(x.name, x.kinds); err != nil {
			return err
		}
	}
	return nil
}

func (g *generation) exchange(name string, kinds []string) error {
	var err error
	for i, kind := range kinds {
		if g.conn.guarded[name] { // a refused attempt is a line in the broker's log
			break
		}
		if err = g.briefly(func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclare(name, kind, true, false, false, false, nil)
		}); err == nil {
			if i > 0 {
				g.guard()
			}
			return nil
		}
		if !isCode(err, amqp091.PreconditionFailed) {
			break
		}
	}
	if err != nil && !isCode(err, amqp091.AccessRefused) {
		return err
	}
	err = g.briefly(func(ch *amqp091.Channel) error {
		return ch.ExchangeDeclarePassive(name, amqp091.ExchangeTopic, true, false, false, false, nil)
	})
	switch {
	case err == nil:
		g.conn.guarded[name] = true
		g.guard()
	case isCode(err, amqp091.NotFound):
		return backend.Errorf(backend.ErrPermissionDenied, "RabbitMQ at %s: exchange %s doesn't exist, and the user may not create it: an administrator "+
			"must (docs/servers.md, Permissions)", g.target, name).With(backend.OutcomeNotSent)
	}
	return err
}

// guard has the permission to publish checked from now on.
func (g *generation) guard() {
	if g.checker == nil {
		g.checker = &clerk{gen: g, link: g.publish, brief: true, jobs: make(chan job, clerkQueue)}
	}
}

// briefly does something on a channel that it closes.
func (g *generation) briefly(do func(ch *amqp091.Channel) error) error {
	ch, err := g.publish.Channel()
	if err != nil {
		return err
	}
	if err = do(ch); err == nil {
		return ch.Close()
	}
	return err // it has closed the channel
}

// mayPublish returns an error if the user may not publish to one of the routes. It finds that out by messages that say
// nothing, once for each route.
func (g *generation) mayPublish(ctx context.Context, doing string, routes ...route) *backend.Error {
	if g.checker == nil {
		return nil
	}
	for _, r := range routes {
		g.mu.Lock()
		known := g.allowed[r]
		g.mu.Unlock()
		if known {
			continue
		}
		_, err := ask(ctx, g.checker, func(ch *amqp091.Channel) (none struct{}, err error) {
			closes := ch.NotifyClose(make(chan *amqp091.Error, 1))
			if err = ch.Publish(r.exchange, r.key, false, false, amqp091.Publishing{
				Headers: amqp091.Table{envelope.Version: envelope.V1}, DeliveryMode: amqp091.Transient, Expiration: "0", Type: controlHere,
				AppId: g.conn.config.Instance.ID,
			}); err == nil { // what the broker thinks of it comes before the answer to this
				err = ch.ExchangeDeclarePassive(exchangeCalls, amqp091.ExchangeTopic, true, false, false, false, nil)
			}
			if err != nil {
				select { // it may have been closed before it was used again
				case why, ok := <-closes:
					if ok {
						err = why
					}
				case <-g.lost:
				}
			}
			return none, err
		})
		if err != nil {
			return asError(explainKey(r.key, err), backend.ErrUnavailable, doing, backend.OutcomeNotSent)
		}
		g.mu.Lock()
		if len(g.allowed) < maxAllowed {
			g.allowed[r] = true
		}
		g.mu.Unlock()
	}
	return nil
}

// maxAllowed bounds the routes that are remembered: services' names may come from anywhere.
const maxAllowed = 4 * maxHeard

// explainKey says that the user lacks a permission; other errors stay as they are.
func explainKey(key string, err error) error {
	if e, ok := errors.AsType[*amqp091.Error](err); ok && e.Code == amqp091.AccessRefused {
		return backend.Errorf(backend.ErrPermissionDenied, "key %q: the user lacks a permission (docs/servers.md, Permissions): %s", key, e.Reason)
	}
	return err
}

func isCode(err error, code int) bool {
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && e.Code == code
}
