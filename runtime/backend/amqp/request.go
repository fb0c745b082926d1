package amqp

import (
	"context"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// replySendTimeout is how long a reply waits for a new connection if the connection of its request has ended. The
// caller may still be connected and waiting.
const replySendTimeout = 2 * time.Second

// A request is one call at an instance. serving.mu guards the fields marked as guarded.
type request struct {
	sub           *callSubscription
	req           *backend.Request
	deadline      time.Time
	deliveryTag   uint64
	replyTo       string
	reads         uint8 // the latest version that the caller reads
	correlationID string
	callKey       string
	size          int // bytes of its body that count against the budget until they are freed; guarded

	cancel       context.CancelCauseFunc // set once it has started; guarded
	started      time.Time               // guarded
	dropped      bool                    // the caller cancelled it before it started; guarded
	answered     bool                    // guarded
	acknowledged bool                    // its acknowledgement was sent or waits in acks; guarded
}

// start runs the handler on a goroutine. The caller has taken a slot.
func (r *request) start() {
	s := r.sub.serving
	ctx, cancel := context.WithCancelCause(s.ctx)
	begun := time.Now()
	s.mu.Lock()
	r.cancel, r.started = cancel, begun
	s.mu.Unlock()
	go func() {
		defer r.finish()
		defer cancel(nil)
		ctx, stop := context.WithDeadline(ctx, r.deadline)
		defer stop()
		s.handler(ctx, r.req, func(reply *backend.Reply) {
			s.stats.note(reply, time.Since(begun))
			r.answer(reply)
		})
	}()
}

// finish frees the slot when the handler's goroutine ends, even by a panic or runtime.Goexit.
func (r *request) finish() {
	r.answer(&backend.Reply{ // ignored if the handler has replied
		Err: backend.NewError(backend.ErrInternal, "the handler sent no reply").With(backend.OutcomeAnswered),
	})
	r.freeBody()
	s := r.sub.serving
	s.mu.Lock()
	s.slots--
	s.running--
	wake := s.starved || s.isDraining()
	s.mu.Unlock()
	if wake {
		s.wake.Set()
	}
}

// freeBody returns the body's bytes to the budget.
func (r *request) freeBody() {
	s := r.sub.serving
	s.mu.Lock()
	size := r.size
	r.size = 0
	s.mu.Unlock()
	s.conn.budget.free(size)
}

// answer publishes the reply, then lets the request be acknowledged. It returns when the reply is written, and holds
// the slot until then, so that pending replies never outnumber the slots.
func (r *request) answer(reply *backend.Reply) {
	s := r.sub.serving
	s.mu.Lock()
	if r.answered {
		s.mu.Unlock()
		return
	}
	r.answered = true
	r.unregister()
	s.mu.Unlock()
	if r.replyTo != "" {
		r.sendReply(reply)
	}
	r.acknowledge()
}

// sendReply publishes a reply in this generation, or in the next one if that opens soon. Callers ignore duplicates.
func (r *request) sendReply(reply *backend.Reply) {
	if r.sendReplyOn(r.sub.gen, reply) {
		return
	}
	c := r.sub.serving.conn
	ctx, stop := context.WithTimeout(context.Background(), replySendTimeout)
	defer stop()
	for g := c.awaitGeneration(ctx, r.sub.gen); g != nil; g = c.awaitGeneration(ctx, g) {
		if r.sendReplyOn(g, reply) {
			return
		}
	}
	c.log.Debug("dropped a reply: no connection", "service", r.sub.serving.endpoint.Service, "call", r.correlationID)
}

// sendReplyOn publishes a reply in a generation and reports whether it was written.
func (r *request) sendReplyOn(g *generation, reply *backend.Reply) bool {
	m := &publishing{key: r.replyTo, msg: encodeReply(r.correlationID, reply, g.maxHeaders, r.reads)}
	return g.replies.deliver(context.Background(), m) == nil
}

// unregister removes the request from those that can be cancelled. The caller holds mu.
func (r *request) unregister() {
	if s := r.sub.serving; s.requests[r.callKey] == r {
		delete(s.requests, r.callKey)
	}
}

// dropExpired drops a request that expired or was cancelled before it started.
func (r *request) dropExpired() {
	s := r.sub.serving
	s.mu.Lock()
	if !r.dropped {
		s.stats.expired++
	}
	r.unregister()
	s.mu.Unlock()
	r.discard()
}

// checkRoute returns why a request must not be handled or answered, if so.
func (r *request) checkRoute(d *amqp091.Delivery) (rejection, bool) {
	switch {
	case !publishedTo(d, exchangeCalls) || d.RoutingKey != r.sub.serving.endpoint.Service:
		return wrongRoute, true
	case !validReplyTo(d.ReplyTo):
		return wrongReplyTo, true
	}
	return 0, false
}

// discard acknowledges a request without a reply.
func (r *request) discard() {
	r.freeBody()
	r.acknowledge()
}

// async runs f on a goroutine. Draining waits for it.
func (r *request) async(f func()) {
	s := r.sub.serving
	s.mu.Lock()
	s.running++
	s.mu.Unlock()
	go func() {
		defer func() {
			r.freeBody()
			s.mu.Lock()
			s.running--
			s.mu.Unlock()
			s.wake.Set()
		}()
		f()
	}()
}

// refuse answers a request that this instance didn't start. If the request was delivered before, another instance may
// have started it, so the outcome is unknown.
func (r *request) refuse(why *backend.Error) {
	if r.req != nil && r.req.Redelivered {
		again := *why
		why = again.With(backend.OutcomeUnknown)
	}
	r.async(func() { r.answer(&backend.Reply{Err: why, Server: r.sub.serving.endpoint.Instance.ID}) })
}

// handOn gives a request that hasn't started to another instance. It publishes a new message: a requeued one would be
// marked as redelivered and refused unless its method is idempotent. If no other instance consumes, the request is
// refused.
func (r *request) handOn() {
	s, g := r.sub.serving, r.sub.gen
	left := time.Until(r.deadline)
	if left <= 0 || r.req.Redelivered {
		r.refuse(errDraining)
		return
	}
	r.async(func() {
		p := &confirmedPublishing{publishing: publishing{
			exchange: exchangeCalls, key: s.endpoint.Service, msg: encodeRequest(r.req, r.correlationID, left, r.reads),
		}}
		p.msg.ReplyTo = r.replyTo
		ctx, stop := context.WithDeadline(context.Background(), r.deadline)
		defer stop()
		err := g.confirmed.send(ctx, []*confirmedPublishing{p})
		if err == nil && p.accepted {
			s.mu.Lock()
			r.answered = true
			r.unregister()
			s.mu.Unlock()
			r.acknowledge()
			return
		}
		why := *errDraining
		if err != nil {
			why.Outcome = err.Outcome // the other instance may have the request
		}
		r.answer(&backend.Reply{Err: &why, Server: s.endpoint.Instance.ID})
	})
}

var errDraining = backend.NewError(backend.ErrUnavailable, "the instance is shutting down").With(backend.OutcomeNotSent)

// cancelCall cancels the call of a caller that gave up.
func (s *serving) cancelCall(key string, why *backend.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r := s.requests[key]; {
	case r == nil:
	case r.cancel == nil:
		r.dropped = true
	default:
		r.cancel(backend.Errorf(why.Code, "the caller stopped waiting: %s", why.Message))
	}
}
