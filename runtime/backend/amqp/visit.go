package amqp

import (
	"context"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// answerGrace is how long an answer waits for a new connection after the one that its request came by has ended. The caller
// may have kept its own, and then it still waits.
const answerGrace = 2 * time.Second

// ackAfter is how long a request that runs stays unacknowledged. By that its caller hears of it should the instance die; but
// RabbitMQ closes the channel of who holds a message for longer than its consumer_timeout, 30 min.
var ackAfter = 20 * time.Minute

// A visit is one request at an instance. serving.mu guards what is said to be.
type visit struct {
	sub     *subscription
	req     *backend.Request
	until   time.Time // its time is up
	tag     uint64
	replyTo string
	id      string // correlation
	key     string
	size    int // of its body, which takes of the Conn's room until it is freed; guarded

	cancel   context.CancelCauseFunc // while it runs; guarded
	dropped  bool                    // the caller gave up before it began; guarded
	answered bool                    // guarded
	acked    bool                    // guarded
}

// start runs the handler, in a slot that is taken, on a goroutine that may end in any way.
func (v *visit) start() {
	s := v.sub.serving
	ctx, cancel := context.WithCancelCause(s.ctx)
	s.mu.Lock()
	v.cancel = cancel
	s.mu.Unlock()
	begun := time.Now()
	go func() {
		defer v.end()
		defer cancel(nil)
		ctx, stop := context.WithDeadline(ctx, v.until)
		defer stop()
		defer time.AfterFunc(ackAfter, v.acknowledge).Stop()
		s.handler(ctx, v.req, func(r *backend.Reply) {
			s.stats.note(r, time.Since(begun))
			v.answer(r)
		})
	}()
}

// end frees the slot when the handler's goroutine ends.
func (v *visit) end() {
	v.answer(&backend.Reply{ // unless it has answered, as it must
		Err: backend.NewError(backend.ErrInternal, "the handler sent no reply").With(backend.OutcomeAnswered),
	})
	v.free()
	s := v.sub.serving
	s.mu.Lock()
	s.slots--
	s.running--
	s.mu.Unlock()
	s.wake.Set()
}

// free gives back the room that the request takes.
func (v *visit) free() {
	s := v.sub.serving
	s.mu.Lock()
	size := v.size
	v.size = 0
	s.mu.Unlock()
	s.conn.room.free(size)
}

// answer publishes the reply, and then lets the request be acknowledged. It returns when the reply is written: the slot is
// taken meanwhile, so that no more replies wait than there are slots.
func (v *visit) answer(r *backend.Reply) {
	s := v.sub.serving
	s.mu.Lock()
	if v.answered {
		s.mu.Unlock()
		return
	}
	v.answered = true
	v.forget()
	s.mu.Unlock()
	if v.replyTo != "" {
		v.send(r)
	}
	v.acknowledge()
}

// send publishes a reply: in this generation, else in the next, if that comes soon. The caller ignores what comes twice.
func (v *visit) send(r *backend.Reply) {
	c := v.sub.serving.conn
	ctx, stop := context.WithTimeout(context.Background(), answerGrace)
	defer stop()
	for g := v.sub.gen; g != nil; g = c.await(ctx, g) {
		l := &letter{key: v.replyTo, msg: encodeReply(v.id, r, g.maxHeaders)}
		if g.replies.deliver(context.Background(), l) == nil {
			return
		}
	}
	c.log.Debug("a reply was not sent", "service", v.sub.serving.endpoint.Service, "call", v.id)
}

// acknowledge has the request acknowledged, once.
func (v *visit) acknowledge() {
	s := v.sub.serving
	s.mu.Lock()
	if !v.acked {
		v.acked = true
		v.sub.acks = append(v.sub.acks, v.tag)
	}
	s.mu.Unlock()
	s.wake.Set()
}

// forget takes the visit out of those that can be cancelled. The caller holds mu.
func (v *visit) forget() {
	if s := v.sub.serving; s.visits[v.key] == v {
		delete(s.visits, v.key)
	}
}

// drop lets a request go unread: nobody waits for it any more.
func (v *visit) drop() {
	s := v.sub.serving
	s.mu.Lock()
	if !v.dropped {
		s.stats.expired++
	}
	v.forget()
	s.mu.Unlock()
	v.discard()
}

// suspicious returns why a request is not to be handled or answered.
func (v *visit) suspicious(d *amqp091.Delivery) (rejection, bool) {
	switch {
	case !came(d, exchangeCalls) || d.RoutingKey != v.sub.serving.endpoint.Service:
		return wrongRoute, true
	case !mayReply(d.ReplyTo):
		return wrongReplyTo, true
	}
	return 0, false
}

// discard acknowledges a request that is not handled. Its caller is told nothing.
func (v *visit) discard() {
	v.free()
	v.acknowledge()
}

// aside does something about the visit on a goroutine of its own, for which the serving waits before it has left.
func (v *visit) aside(f func()) {
	s := v.sub.serving
	s.mu.Lock()
	s.running++
	s.mu.Unlock()
	go func() {
		defer func() {
			v.free()
			s.mu.Lock()
			s.running--
			s.mu.Unlock()
			s.wake.Set()
		}()
		f()
	}()
}

// refuse answers a request that is not begun here; one that was delivered before may have been begun there.
func (v *visit) refuse(why *backend.Error) {
	if v.req != nil && v.req.Redelivered {
		again := *why
		why = again.With(backend.OutcomeUnknown)
	}
	v.aside(func() { v.answer(&backend.Reply{Err: why, Server: v.sub.serving.endpoint.Instance.ID}) })
}

// handOn gives a request that is not begun to another instance: as a new message, since one that is put back would be marked
// as delivered before, and refused unless its method is idempotent. Without another instance it is refused.
func (v *visit) handOn() {
	s, g := v.sub.serving, v.sub.gen
	left := time.Until(v.until)
	if left <= 0 || v.req.Redelivered {
		v.refuse(errDraining)
		return
	}
	v.aside(func() {
		p := &parcel{letter: letter{exchange: exchangeCalls, key: s.endpoint.Service, msg: encodeRequest(v.req, v.id, left)}}
		p.msg.ReplyTo = v.replyTo
		ctx, stop := context.WithDeadline(context.Background(), v.until)
		defer stop()
		if err := g.confirmed.send(ctx, []*parcel{p}); err == nil && p.taken {
			s.mu.Lock()
			v.answered = true
			v.forget()
			s.mu.Unlock()
			v.acknowledge()
			return
		}
		v.answer(&backend.Reply{Err: errDraining, Server: s.endpoint.Instance.ID})
	})
}

var errDraining = backend.NewError(backend.ErrUnavailable, "the instance shuts down").With(backend.OutcomeNotSent)

// giveUp ends the call of a caller that gave up.
func (s *serving) giveUp(key string, why *backend.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch v := s.visits[key]; {
	case v == nil:
	case v.cancel == nil:
		v.dropped = true
	default:
		v.cancel(backend.Errorf(why.Code, "the caller stopped waiting: %s", why.Message))
	}
}
