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
// messages to itself through both exchanges. One that comes back, or a channel that is closed for it, ends the generation, and
// the next one declares everything anew; until then State reports the cause. Single bindings can't be looked at: those of
// services are made again, which changes nothing if they are there.
const (
	upkeepEvery        = time.Second
	defaultRebindEvery = 5 * time.Second // how often the bindings of services are made again
)

func (c *Conn) rebindEvery() time.Duration { return cmp.Or(c.config.rebindEvery, defaultRebindEvery) }

// selfKeys are the keys by which the control queue is bound only so that the generation finds its bindings missing.
func (g *generation) selfKeys() []struct{ exchange, key string } {
	keys := []struct{ exchange, key string }{{exchangeCalls, hereKey + g.control}, {exchangeControl, hereKey + g.control}}
	if id := g.conn.config.Instance.ID; id != "" {
		keys = append(keys, struct{ exchange, key string }{exchangeControl, hereKey + id})
	}
	return keys
}

// here returns a message that says nothing: only whether it arrives somewhere matters.
func (g *generation) here(exchange, key string) *parcel {
	return &parcel{letter: letter{exchange: exchange, key: key, msg: amqp091.Publishing{
		Headers: amqp091.Table{envelope.Version: envelope.V1}, DeliveryMode: amqp091.Transient, Type: controlHere, AppId: g.conn.config.Instance.ID,
	}}}
}

// probe sends messages to the generation itself. It ends the generation if one doesn't arrive. An error means that this
// isn't known or that the generation has ended.
func (g *generation) probe(ctx context.Context, more ...*parcel) *backend.Error {
	var own []*parcel
	for _, k := range g.selfKeys() {
		own = append(own, g.here(k.exchange, k.key))
	}
	if err := g.confirmed.send(ctx, append(own, more...)); err != nil {
		return err
	}
	for _, p := range own {
		if p.homeless {
			g.end(backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s: exchange %s or its bindings were deleted", g.target, p.exchange))
			return unavailable(g.err)
		}
	}
	return nil
}

// probeFlow returns once it is known whether the broker takes messages: it tells a connection so only when that publishes,
// either before or after it has confirmed the message, and reads nothing more from it.
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

// upkeep looks after the exchanges and bindings until the generation ends.
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
		if g.isBlocked() || g.probe(ctx) != nil {
			continue
		}
		if time.Since(rebound) >= rebindEvery {
			rebound = time.Now()
			g.rebind(ctx)
		}
	}
}

// rebind makes the bindings again by which callers hear of new queues. It doesn't wait for each.
func (g *generation) rebind(ctx context.Context) {
	g.mu.Lock()
	services := make([]string, 0, len(g.heard))
	for s := range g.heard {
		services = append(services, s)
	}
	g.mu.Unlock()
	_, err := ask(ctx, g.clerk, func(ch *amqp091.Channel) (none struct{}, err error) {
		for _, s := range services {
			if err = ch.QueueBind(g.control, newKey+s, exchangeControl, true, nil); err != nil {
				break
			}
		}
		return none, err
	})
	if err != nil {
		g.conn.log.Debug("bindings are not made again now", "error", err)
	}
}

// bindCalls binds the service's queue. With noWait errors close the channel.
func (sub *subscription) bindCalls(noWait bool) error {
	return sub.ch.QueueBind(sub.serving.queue, sub.serving.endpoint.Service, exchangeCalls, noWait, nil)
}

// bindControl binds the control queue for the service. With noWait errors close the channel.
func (sub *subscription) bindControl(noWait bool) (err error) {
	for _, key := range sub.serving.controlKeys() {
		if err == nil {
			err = sub.ch.QueueBind(sub.gen.control, key, exchangeControl, noWait, nil)
		}
	}
	return err
}

// flows waits until the broker takes messages, or the generation or ctx ends.
func (g *generation) flows(ctx context.Context) {
	for {
		g.conn.mu.Lock()
		changed := g.conn.changed
		g.conn.mu.Unlock()
		if !g.isBlocked() || g.hasEnded() || ctx.Err() != nil {
			return
		}
		select {
		case <-changed:
		case <-g.lost:
		case <-ctx.Done():
		}
	}
}

// trouble notes why who, a serving or a listener, can't consume although there is a connection; nil: it can.
func (c *Conn) trouble(who any, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.troubles[who]; known == (err != nil) {
		return
	}
	if err == nil {
		delete(c.troubles, who)
	} else {
		c.troubles[who] = err
	}
	c.change()
}
