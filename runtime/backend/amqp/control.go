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
	controlCancel = "_af/cancel" // cancels the call with this correlation ID and app ID
	controlPing   = "_af/ping"
	controlInfo   = "_af/info"
	controlStats  = "_af/stats"
	controlHere   = "_af/here" // ignored; see hereKey
	controlNew    = "_af/new"  // the service's queue was created; the content of the previous one is lost
)

// newKey prefixes the routing key of controlNew. Callers bind it; instances don't.
const newKey = "_af.new."

// hereKey prefixes a key that every connected Conn of an instance binds. Receivers ignore messages to it: Absent only
// needs to know whether they are routed.
const hereKey = "_af.here."

// controlQueueArgs bound the backlog of an instance that doesn't read. Control messages may be lost.
var controlQueueArgs = amqp091.Table{"x-max-length": int32(4096)}

// openControl opens the queue for control messages, to which servings add bindings. Its name includes the generation's
// number, so that it doesn't collide with the queue of a connection that the broker still considers alive.
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
	g.mu.Lock()
	g.controlled = true
	g.mu.Unlock()
	g.endOnClose("control messages", ch)
	cancelled := ch.NotifyCancel(make(chan string, 1))
	g.spawn(func() {
		if _, ok := <-cancelled; ok { // without the queue, others see the instance as absent
			g.end(backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s deleted the queue for control messages", g.target))
		}
	})
	g.spawn(func() {
		for d := range messages {
			g.conn.onControl(g, &d)
		}
	})
	return nil
}

// controlKeys returns the routing keys of a serving: one for all instances of its service, one for it alone.
func (s *serving) controlKeys() []string {
	keys := []string{s.endpoint.Service}
	if id := s.endpoint.Instance.ID; id != "" {
		keys = append(keys, s.endpoint.Service+"."+id)
	}
	return keys
}

// ensureControl opens the queue for control messages, which an observer doesn't have before its first call.
func (g *generation) ensureControl(ctx context.Context) *backend.Error {
	if g.hasControl() {
		return nil
	}
	_, err := onChannel(ctx, g.declarer, func(*amqp091.Channel) (none struct{}, err error) {
		if !g.hasControl() {
			err = g.openControl()
		}
		return none, err
	})
	if err != nil {
		return asError(explainQueue(g.control, err), backend.ErrUnavailable, "declaring queue "+g.control,
			backend.OutcomeNotSent)
	}
	return nil
}

func (g *generation) hasControl() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.controlled
}

// watchRenewals subscribes the Conn to renewal events of a service's queue before its first call.
func (g *generation) watchRenewals(ctx context.Context, service string) *backend.Error {
	g.mu.Lock()
	known, full := g.renewals[service], len(g.renewals) >= maxRenewals
	g.mu.Unlock()
	if known {
		return nil
	}
	err := g.mayPublish(ctx, "calling "+service, route{exchangeCalls, service}, route{exchangeControl, service})
	if err == nil {
		err = g.ensureControl(ctx)
	}
	if err != nil || full {
		return err
	}
	_, e := onChannel(ctx, g.declarer, func(ch *amqp091.Channel) (struct{}, error) {
		return struct{}{}, ch.QueueBind(g.control, newKey+service, exchangeControl, false, nil)
	})
	if e != nil {
		return asError(explainKey(newKey+service, e), backend.ErrUnavailable, "calling "+service, backend.OutcomeNotSent)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.renewals[service] = true
	return nil
}

// maxRenewals bounds the services whose events a Conn receives, since their names may come from untrusted input.
const maxRenewals = 1024

// cancellation tells the instances of a service that a caller cancelled a call. The instance that has the call cancels
// it.
func cancellation(ctx context.Context, req *backend.Request, id string) *publishing {
	return &publishing{exchange: exchangeControl, key: req.Service, msg: amqp091.Publishing{
		Headers: amqp091.Table{
			envelope.Version: envelope.V1, envelope.Code: string(backend.CodeOf(ctx.Err())),
			envelope.Message: envelope.Cut(context.Cause(ctx).Error(), envelope.MaxText),
		},
		DeliveryMode: amqp091.Transient, Type: controlCancel, CorrelationId: id, AppId: req.Caller,
	}}
}

// onControl handles a control message. Unknown types belong to later versions.
func (c *Conn) onControl(g *generation, d *amqp091.Delivery) {
	switch {
	case d.Type == controlHere:
		return
	case !publishedTo(d, exchangeControl):
		c.countDropped(wrongRoute, d)
		return
	case !validReplyTo(d.ReplyTo):
		c.countDropped(wrongReplyTo, d)
		return
	}
	if service, ok := strings.CutPrefix(d.RoutingKey, newKey); ok {
		if d.Type == controlNew {
			c.calls.onRenewal(g, d, service)
		}
		return
	}
	c.mu.Lock()
	var receivers []*serving
	for s := range c.serving {
		for _, key := range s.controlKeys() {
			if key == d.RoutingKey {
				receivers = append(receivers, s)
			}
		}
	}
	c.mu.Unlock()
	for _, s := range receivers {
		if d.Type == controlCancel {
			s.cancelCall(d.AppId+"\x00"+d.CorrelationId, envelope.ParseError(texts(d.Headers)))
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
			r.Body, err = json.Marshal(s.report())
		default:
			r.Err = backend.Errorf(backend.ErrUnimplemented, "unknown control message %q", d.Type).With(backend.OutcomeAnswered)
		}
		if err == nil {
			g.replies.try(&publishing{key: d.ReplyTo, msg: encodeReply(d.CorrelationId, r, g.maxHeaders, d.Priority)})
		}
	}
}

// info is the reply to controlInfo. QueueAge is set if this instance created the service's queue.
type info struct {
	Service     string               `json:"service"`
	Instance    string               `json:"instance"`
	IP          string               `json:"ip,omitempty"`
	Version     string               `json:"version,omitempty"`
	Concurrency int                  `json:"concurrency"`
	QueueAge    *float64             `json:"queue_ms,omitempty"`
	Methods     []backend.MethodInfo `json:"methods"`
}

func (s *serving) info() info {
	e := s.endpoint
	i := info{
		Service: e.Service, Instance: e.Instance.ID, IP: e.Instance.IP, Version: e.Instance.Version,
		Concurrency: e.Concurrency, Methods: e.Methods,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.created.IsZero() {
		age := float64(time.Since(s.created).Microseconds()) / 1000
		i.QueueAge = &age
	}
	return i
}
