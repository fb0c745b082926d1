package amqp

import (
	"context"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// calls implements backend.Calls.
type calls struct {
	conn  *Conn
	newID func() string

	mu         sync.Mutex
	pending    map[string]*pending // by correlation ID
	confirming map[route]bool      // instances being asked about a renewal event
}

// A pending call waits for its outcome.
type pending struct {
	service  string // empty for a question to an instance about a renewal event
	since    time.Time
	deadline time.Time
	gen      *generation
	request  publishing
	done     chan outcome // capacity 1: only the first outcome counts
}

// An outcome ends a call, with the delivery of its reply or with an error.
type outcome struct {
	reply *amqp091.Delivery
	err   *backend.Error
}

func (p *pending) end(o outcome) {
	select {
	case p.done <- o:
	default:
	}
}

// Call implements backend.Calls.
func (c *calls) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	if err := checkRequest(req); err != nil {
		return nil, err.With(backend.OutcomeNotSent)
	}
	if ctx.Err() != nil {
		return nil, contextError(ctx, "calling "+name(req), backend.OutcomeNotSent)
	}
	if req.Timeout <= 0 {
		return nil, backend.Errorf(backend.ErrDeadlineExceeded, "calling %s: timeout %v is not positive", name(req),
			req.Timeout).With(backend.OutcomeNotSent)
	}
	g, err := c.conn.usable()
	if err != nil {
		return nil, err
	}
	id := c.newID()
	p := &pending{service: req.Service, deadline: time.Now().Add(req.Timeout), gen: g, done: make(chan outcome, 1)}
	p.request.exchange, p.request.key, p.request.mandatory = exchangeCalls, req.Service, true
	p.request.msg = encodeRequest(req, id, req.Timeout, version2)
	if n := size(p.request.msg.Headers); n > g.maxHeaders {
		return nil, backend.Errorf(backend.ErrInvalidArgument,
			"calling %s: the headers and metadata are %d bytes; at most %d are allowed", name(req), n, g.maxHeaders).
			With(backend.OutcomeNotSent)
	}
	if err := g.watchRenewals(ctx, req.Service); err != nil {
		return nil, err
	}
	p.since = time.Now() // watchRenewals may have taken a while
	c.add(id, p)
	defer c.remove(id)
	if err := g.requests.send(ctx, &p.request); err != nil {
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

// wait waits for the outcome of a queued call.
func (c *calls) wait(
	ctx context.Context, g *generation, req *backend.Request, p *pending, id string,
) (*backend.Reply, error) {
	select {
	case o := <-p.done:
		if o.err != nil {
			return nil, o.err
		}
		r := decodeReply(o.reply)
		if e := r.Err; e != nil && e.Outcome == backend.OutcomeNotSent && e.Code != backend.ErrFailedPrecondition {
			return nil, e // rejected before it ran
		}
		return r, nil
	case <-ctx.Done():
		o := p.request.outcome()
		if o == backend.OutcomeUnknown {
			g.replies.try(cancellation(ctx, req, id))
		}
		return nil, contextError(ctx, "calling "+name(req), o)
	case <-g.lost:
		return nil, backend.Errorf(backend.ErrUnavailable, "calling %s: %w", name(req), g.err).With(p.request.outcome())
	case <-g.stalling():
		return nil, backend.Errorf(backend.ErrUnavailable, "calling %s: %w", name(req), g.stallError()).
			With(p.request.outcome())
	}
}

// onReply passes a reply to its call. A reply with an unknown ID belongs to a call that has ended.
func (c *calls) onReply(d amqp091.Delivery) {
	c.mu.Lock()
	p := c.pending[d.CorrelationId]
	c.mu.Unlock()
	if p != nil {
		p.end(outcome{reply: &d})
	}
}

// onReturn ends a call whose request the broker returned because there is no queue.
func (c *calls) onReturn(r amqp091.Return) {
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
	p.end(outcome{err: backend.Errorf(backend.ErrUnavailable, "RabbitMQ returned the request: %s (%d)", r.ReplyText,
		r.ReplyCode).With(backend.OutcomeNotSent)})
}
