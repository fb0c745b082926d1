package amqp

import (
	"context"
	"errors"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// A user with all permissions under ^af\..* creates the exchanges. If each program has its own user (docs/servers.md,
// Permissions), an administrator creates them, with af.rpc as a topic exchange: RabbitMQ checks routing keys of
// bindings and publishings only for topic exchanges. RabbitMQ answers a forbidden publishing by closing the channel,
// which would end the generation and all calls in flight. So the Conn of such a user first tests each route on a
// separate channel.

// A route is the exchange and the routing key of a publishing.
type route struct{ exchange, key string }

// declareExchanges declares the exchanges, unless the program is an observer. An exchange that the user may not declare,
// or that has another type, must exist.
func (g *generation) declareExchanges() error {
	if g.conn.config.Observer {
		g.checkPermissions() // also finds out before a call whether the exchanges exist
		return nil
	}
	for _, x := range []struct {
		name  string
		kinds []string // the second is an alternative that an administrator may have created
	}{
		{exchangeCalls, []string{amqp091.ExchangeDirect, amqp091.ExchangeTopic}},
		{exchangeControl, []string{amqp091.ExchangeTopic}},
	} {
		if err := g.declareExchange(x.name, x.kinds); err != nil {
			return err
		}
	}
	return nil
}

func (g *generation) declareExchange(name string, kinds []string) error {
	var err error
	for i, kind := range kinds {
		if g.conn.undeclarable[name] { // don't fill the broker's log with refused attempts
			break
		}
		if err = g.onOwnChannel(func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclare(name, kind, true, false, false, false, nil)
		}); err == nil {
			if i > 0 {
				g.checkPermissions()
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
	err = g.onOwnChannel(func(ch *amqp091.Channel) error {
		return ch.ExchangeDeclarePassive(name, amqp091.ExchangeTopic, true, false, false, false, nil)
	})
	switch {
	case err == nil:
		g.conn.undeclarable[name] = true
		g.checkPermissions()
	case isCode(err, amqp091.NotFound):
		return backend.Errorf(backend.ErrPermissionDenied, "RabbitMQ at %s: exchange %s doesn't exist, and the user may not "+
			"create it: an administrator must (docs/servers.md, Permissions)", g.target, name).With(backend.OutcomeNotSent)
	}
	return err
}

// checkPermissions makes mayPublish test routes from now on.
func (g *generation) checkPermissions() {
	if g.checker == nil {
		g.checker = &declarer{gen: g, link: g.publish, freshChannels: true, jobs: make(chan job, declarerQueue)}
	}
}

// onOwnChannel runs do on a new channel and closes it.
func (g *generation) onOwnChannel(do func(ch *amqp091.Channel) error) error {
	ch, err := g.publish.Channel()
	if err != nil {
		return err
	}
	if err = do(ch); err == nil {
		return ch.Close()
	}
	return err // the broker has closed the channel
}

// mayPublish returns an error if the user may not publish to one of the routes. It tests each route once, with a
// message that receivers ignore.
func (g *generation) mayPublish(ctx context.Context, op string, routes ...route) *backend.Error {
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
		_, err := onChannel(ctx, g.checker, func(ch *amqp091.Channel) (none struct{}, err error) {
			closes := ch.NotifyClose(make(chan *amqp091.Error, 1))
			err = ch.Publish(r.exchange, r.key, false, false, amqp091.Publishing{
				Headers: amqp091.Table{envelope.Version: envelope.V1}, DeliveryMode: amqp091.Transient, Expiration: "0",
				Type: controlHere, AppId: g.conn.config.Instance.ID,
			})
			if err == nil { // a refused publishing closes the channel before the broker replies to this
				err = ch.ExchangeDeclarePassive(exchangeCalls, amqp091.ExchangeTopic, true, false, false, false, nil)
			}
			if err != nil {
				select { // prefer the reason for which the broker closed the channel
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
			return asError(explainKey(r.key, err), backend.ErrUnavailable, op, backend.OutcomeNotSent)
		}
		g.mu.Lock()
		if len(g.allowed) < maxAllowed {
			g.allowed[r] = true
		}
		g.mu.Unlock()
	}
	return nil
}

// maxAllowed bounds the remembered routes, since names of services may come from untrusted input.
const maxAllowed = 4 * maxRenewals

// explainKey returns an actionable error if the user lacks a permission for a routing key. It returns other errors
// unchanged.
func explainKey(key string, err error) error {
	if e, ok := errors.AsType[*amqp091.Error](err); ok && e.Code == amqp091.AccessRefused {
		return backend.Errorf(backend.ErrPermissionDenied,
			"routing key %q: the user lacks a permission (docs/servers.md, Permissions): %s", key, e.Reason)
	}
	return err
}

func isCode(err error, code int) bool {
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && e.Code == code
}
