package amqp

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// The types of control messages.
const (
	controlCancel = "_af/cancel" // ends the call with this correlation id of this app_id
	controlPing   = "_af/ping"
	controlInfo   = "_af/info"
	controlStats  = "_af/stats"
	controlHere   = "_af/here" // nothing: see hereKey
	controlNew    = "_af/new"  // the queue of this service is a new one: what was in the one before is lost
)

// newKey is the key of controlNew, another than that of what instances hear: callers bind it.
const newKey = "_af.new."

// hereKey is the key that every Conn of an instance hears while it is connected. What is sent by it says nothing: that it
// arrives somewhere is what Absent wants to know.
const hereKey = "_af.here."

// controlQueueArgs bound what waits for an instance that doesn't read: control messages may be lost.
var controlQueueArgs = amqp091.Table{"x-max-length": int32(4096)}

// openControl opens the queue of the Conn's control messages. Servings bind it. Its name has the generation's number, so
// that the queue of a connection that the broker hasn't given up yet is not in the way.
func (g *generation) openControl() error {
	ch, err := g.consume.Channel()
	if err != nil {
		return err
	}
	if _, err := ch.QueueDeclare(g.control, false, true, true, false, controlQueueArgs); err != nil {
		return err
	}
	for _, k := range g.selfKeys() {
		if err := ch.QueueBind(g.control, k.key, k.exchange, false, nil); err != nil {
			return err
		}
	}
	messages, err := ch.Consume(g.control, "", true, true, false, false, nil)
	if err != nil {
		return err
	}
	g.own("control messages", ch)
	cancelled := ch.NotifyCancel(make(chan string, 1))
	g.begin(func() {
		if _, ok := <-cancelled; ok { // without its queue the instance is absent to others
			g.end(backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s has deleted the queue for control messages", g.target))
		}
	})
	g.begin(func() {
		for d := range messages {
			g.conn.controlled(g, &d)
		}
	})
	return nil
}

// controlKeys are what a serving hears: what goes to all instances of its service, and to it alone.
func (s *serving) controlKeys() []string {
	keys := []string{s.endpoint.Service}
	if id := s.endpoint.Instance.ID; id != "" {
		keys = append(keys, s.endpoint.Service+"."+id)
	}
	return keys
}

// hear has the Conn hear when the queue of a service is a new one, from before its first call on.
func (g *generation) hear(ctx context.Context, service string) *backend.Error {
	g.mu.Lock()
	known, full := g.heard[service], len(g.heard) >= maxHeard
	g.mu.Unlock()
	if known {
		return nil
	}
	if err := g.mayPublish(ctx, "calling "+service, route{exchangeCalls, service}, route{exchangeControl, service}); err != nil || full {
		return err
	}
	_, err := ask(ctx, g.clerk, func(ch *amqp091.Channel) (struct{}, error) {
		return struct{}{}, ch.QueueBind(g.control, newKey+service, exchangeControl, false, nil)
	})
	if err != nil {
		return asError(explainKey(newKey+service, err), backend.ErrUnavailable, "calling "+service, backend.OutcomeNotSent)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heard[service] = true
	return nil
}

// maxHeard bounds the services of which a Conn hears: names may come from anywhere.
const maxHeard = 1024

// cancellation tells the instances of a service that a caller gave up. The one that has the call ends it.
func cancellation(ctx context.Context, req *backend.Request, id string) *letter {
	return &letter{exchange: exchangeControl, key: req.Service, msg: amqp091.Publishing{
		Headers: amqp091.Table{
			envelope.Version: envelope.V1, envelope.Code: string(backend.CodeOf(ctx.Err())), envelope.Message: envelope.Cut(context.Cause(ctx).Error(), envelope.MaxText),
		},
		DeliveryMode: amqp091.Transient, Type: controlCancel, CorrelationId: id, AppId: req.Caller,
	}}
}

// controlled does what a control message says. Unknown types belong to a later version.
func (c *Conn) controlled(g *generation, d *amqp091.Delivery) {
	switch {
	case d.Type == controlHere:
		return
	case !came(d, exchangeControl):
		c.reject(wrongRoute, d)
		return
	case !mayReply(d.ReplyTo):
		c.reject(wrongReplyTo, d)
		return
	}
	if service, ok := strings.CutPrefix(d.RoutingKey, newKey); ok {
		if d.Type == controlNew {
			c.calls.renewed(g, d, service)
		}
		return
	}
	c.mu.Lock()
	var heard []*serving
	for s := range c.serving {
		for _, key := range s.controlKeys() {
			if key == d.RoutingKey {
				heard = append(heard, s)
			}
		}
	}
	c.mu.Unlock()
	for _, s := range heard {
		if d.Type == controlCancel {
			s.giveUp(d.AppId+"\x00"+d.CorrelationId, envelope.ParseError(texts(d.Headers)))
			continue
		}
		if !strings.HasPrefix(d.Type, "_af/") || d.ReplyTo == "" {
			continue
		}
		r := &backend.Reply{Server: s.endpoint.Instance.ID}
		var err error
		switch d.Type {
		case controlPing:
			r.Body = json.RawMessage("{}")
		case controlInfo:
			r.Body, err = json.Marshal(s.info())
		case controlStats:
			r.Body, err = json.Marshal(s.numbers())
		default:
			r.Err = backend.Errorf(backend.ErrUnimplemented, "control message %q", d.Type).With(backend.OutcomeAnswered)
		}
		if err == nil {
			g.replies.try(&letter{key: d.ReplyTo, msg: encodeReply(d.CorrelationId, r, g.maxHeaders)})
		}
	}
}

// An info is what an instance says of itself.
type info struct {
	Service     string               `json:"service"`
	Instance    string               `json:"instance"`
	IP          string               `json:"ip,omitempty"`
	Version     string               `json:"version,omitempty"`
	Concurrency int                  `json:"concurrency"`
	QueueAge    *float64             `json:"queue_ms,omitempty"` // since it made the service's queue, if it did
	Methods     []backend.MethodInfo `json:"methods"`
}

func (s *serving) info() info {
	e := s.endpoint
	i := info{
		Service: e.Service, Instance: e.Instance.ID, IP: e.Instance.IP, Version: e.Instance.Version, Concurrency: e.Concurrency, Methods: e.Methods,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.made.IsZero() {
		age := float64(time.Since(s.made).Microseconds()) / 1000
		i.QueueAge = &age
	}
	return i
}
