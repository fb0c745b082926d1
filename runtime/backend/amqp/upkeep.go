package amqp

import (
	"cmp"
	"context"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// The broker reports a deleted queue to its consumers, but not a deleted exchange or binding. So each generation sends
// probe messages to itself through both exchanges. If one is returned, or closes its channel, the generation ends, and
// the next one declares everything again; State reports the cause meanwhile. Single bindings can't be inspected, so
// those of services are bound again periodically, which is a no-op if they exist.
const (
	upkeepEvery        = time.Second
	defaultRebindEvery = 5 * time.Second
)

func (c *Conn) rebindEvery() time.Duration { return cmp.Or(c.config.rebindEvery, defaultRebindEvery) }

// selfKeys returns the bindings of the control queue that exist for probe messages.
func (g *generation) selfKeys() []struct{ exchange, key string } {
	keys := []struct{ exchange, key string }{{exchangeCalls, hereKey + g.control}, {exchangeControl, hereKey + g.control}}
	if id := g.conn.config.Instance.ID; id != "" {
		keys = append(keys, struct{ exchange, key string }{exchangeControl, hereKey + id})
	}
	return keys
}

// probeMessage returns a message that receivers ignore: only its routing matters.
func (g *generation) probeMessage(exchange, key string) *confirmedPublishing {
	return &confirmedPublishing{publishing: publishing{exchange: exchange, key: key, msg: amqp091.Publishing{
		Headers: amqp091.Table{envelope.Version: envelope.V1}, DeliveryMode: amqp091.Transient, Type: controlHere,
		AppId: g.conn.config.Instance.ID,
	}}}
}

// probe sends messages to the generation itself, along with more. It ends the generation if one of its own is
// unroutable. An error means that the result is unknown or that the generation has ended.
func (g *generation) probe(ctx context.Context, more ...*confirmedPublishing) *backend.Error {
	var own []*confirmedPublishing
	if g.hasControl() {
		for _, k := range g.selfKeys() {
			own = append(own, g.probeMessage(k.exchange, k.key))
		}
	}
	if err := g.confirmed.send(ctx, append(own, more...)); err != nil {
		return err
	}
	for _, p := range own {
		if p.unroutable {
			g.end(backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s: exchange %s or its bindings were deleted", g.target,
				p.exchange))
			return unavailable(g.err)
		}
	}
	return nil
}

// probeFlow returns once it is known whether the broker blocks publishers. The broker only tells a connection that
// publishes, before or after it confirms the message, and then stops reading from it.
func (g *generation) probeFlow(ctx context.Context) error {
	for range 2 {
		if err := g.probe(ctx); err != nil && !g.isBlocked() {
			return err
		}
		if g.isBlocked() {
			return nil
		}
	}
	return nil
}

// upkeep checks the exchanges and repairs bindings until the generation ends.
func (g *generation) upkeep(ctx context.Context) {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	rebindEvery := g.conn.rebindEvery()
	rebound := time.Now()
	for {
		select {
		case <-tick.C:
		case <-g.lost:
			return
		}
		if g.isStalled() || g.probe(ctx) != nil {
			continue
		}
		if time.Since(rebound) >= rebindEvery {
			rebound = time.Now()
			g.rebind(ctx)
		}
	}
}

// rebind repeats the bindings for renewal events. It doesn't wait for replies.
func (g *generation) rebind(ctx context.Context) {
	g.mu.Lock()
	services := make([]string, 0, len(g.renewals))
	for s := range g.renewals {
		services = append(services, s)
	}
	g.mu.Unlock()
	_, err := onChannel(ctx, g.declarer, func(ch *amqp091.Channel) (none struct{}, err error) {
		for _, s := range services {
			if err = ch.QueueBind(g.control, newKey+s, exchangeControl, true, nil); err != nil {
				break
			}
		}
		return none, err
	})
	if err != nil {
		g.conn.log.Debug("repeating bindings failed", "error", err)
	}
}

// bindCalls binds the service's queue. With noWait, errors close the channel.
func (sub *callSubscription) bindCalls(noWait bool) error {
	return sub.ch.QueueBind(sub.serving.queue, sub.serving.endpoint.Service, exchangeCalls, noWait, nil)
}

// bindControl binds the control queue for the service. With noWait, errors close the channel.
func (sub *callSubscription) bindControl(noWait bool) (err error) {
	for _, key := range sub.serving.controlKeys() {
		if err == nil {
			err = sub.ch.QueueBind(sub.gen.control, key, exchangeControl, noWait, nil)
		}
	}
	return err
}

// setConsumeErr records why who, a serving or a listener, can't consume although a connection exists. nil clears the
// error.
func (c *Conn) setConsumeErr(who any, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.consumeErrs[who]; known == (err != nil) {
		return
	}
	if err == nil {
		delete(c.consumeErrs, who)
	} else {
		c.consumeErrs[who] = err
	}
	c.notify()
}
