package amqp

import (
	"context"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// calls is the port for calls: the caller's side, and Serve.
type calls struct {
	conn  *Conn
	newID func() string

	mu         sync.Mutex
	pending    map[string]*pending // by correlation id
	confirming map[route]bool      // instances that are asked about an event
}

// A pending call waits for what becomes of it.
type pending struct {
	service string // "": it asks an instance about an event
	since   time.Time
	until   time.Time // its time is up
	gen     *generation
	letter  letter
	came    chan outcome // of capacity 1: the first outcome counts
}

// An outcome ends a call: with the delivery of a reply, or with an error.
type outcome struct {
	reply *amqp091.Delivery
	err   *backend.Error
}

func (p *pending) end(o outcome) {
	select {
	case p.came <- o:
	default:
	}
}

// Call implements backend.Calls.
func (c *calls) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	if err := checkRequest(req); err != nil {
		return nil, err.With(backend.OutcomeNotSent)
	}
	if ctx.Err() != nil {
		return nil, gaveUp(ctx, "calling "+name(req), backend.OutcomeNotSent)
	}
	if req.Timeout <= 0 {
		return nil, backend.Errorf(backend.ErrDeadlineExceeded, "calling %s: no time is left", name(req)).With(backend.OutcomeNotSent)
	}
	g, err := c.conn.usable()
	if err != nil {
		return nil, err
	}
	id := c.newID()
	p := &pending{service: req.Service, until: time.Now().Add(req.Timeout), gen: g, came: make(chan outcome, 1)}
	p.letter.exchange, p.letter.key, p.letter.mandatory = exchangeCalls, req.Service, true
	p.letter.msg = encodeRequest(req, id, req.Timeout)
	if n := size(p.letter.msg.Headers); n > g.maxHeaders {
		return nil, backend.Errorf(backend.ErrInvalidArgument, "calling %s: headers and metadata of %d bytes; at most %d are allowed",
			name(req), n, g.maxHeaders).With(backend.OutcomeNotSent)
	}
	if err := g.hear(ctx, req.Service); err != nil {
		return nil, err
	}
	p.since = time.Now() // hear may have taken a while
	c.add(id, p)
	defer c.remove(id)
	if err := g.requests.send(ctx, &p.letter); err != nil {
		return nil, err
	}
	return c.wait(ctx, g, req, p, id)
}

func (c *calls) add(id string, p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending[id] = p
}

func (c *calls) remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

func name(req *backend.Request) string { return req.Service + "." + req.Method }

// wait waits for the end of a call that was queued.
func (c *calls) wait(ctx context.Context, g *generation, req *backend.Request, p *pending, id string) (*backend.Reply, error) {
	select {
	case o := <-p.came:
		if o.err != nil {
			return nil, o.err
		}
		r := decodeReply(o.reply)
		if e := r.Err; e != nil && e.Outcome == backend.OutcomeNotSent && e.Code != backend.ErrFailedPrecondition {
			return nil, e // refused, not answered
		}
		return r, nil
	case <-ctx.Done():
		o := p.letter.outcome()
		if o == backend.OutcomeUnknown {
			g.replies.try(cancellation(ctx, req, id))
		}
		return nil, gaveUp(ctx, "calling "+name(req), o)
	case <-g.lost:
		return nil, backend.Errorf(backend.ErrUnavailable, "calling %s: %w", name(req), g.err).With(p.letter.outcome())
	case <-g.blocking():
		return nil, backend.Errorf(backend.ErrUnavailable, "calling %s: RabbitMQ at %s takes no messages now", name(req), g.target).
			With(p.letter.outcome())
	}
}

// replied passes a reply on. One of an unknown id is for a call that has ended.
func (c *calls) replied(d amqp091.Delivery) {
	c.mu.Lock()
	p := c.pending[d.CorrelationId]
	c.mu.Unlock()
	if p != nil {
		p.end(outcome{reply: &d})
	}
}

// returned ends a call that the broker had no queue for.
func (c *calls) returned(r amqp091.Return) {
	c.mu.Lock()
	p := c.pending[r.CorrelationId]
	c.mu.Unlock()
	if p == nil {
		return
	}
	if r.ReplyCode == amqp091.NoRoute {
		p.end(outcome{err: backend.NoInstance(p.service)})
		return
	}
	p.end(outcome{err: backend.Errorf(backend.ErrUnavailable, "RabbitMQ returned the request: %s (%d)", r.ReplyText, r.ReplyCode).
		With(backend.OutcomeNotSent)})
}
