package amqp

import (
	"context"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// callQueueArgs make the queue of a service. It is shared and goes with its last consumer (auto-delete), and it is durable:
// RabbitMQ 4 deprecates shared queues that are not, and refuses them once that feature is off, while durable ones with
// auto-delete are taken by 3.10 and 4 alike. Durable says nothing of the messages, which are transient and never reach a
// disk. But a durable queue outlives a restart of the broker, and then there is no consumer whose leaving would delete it:
// so it expires, too. (Classic: a quorum queue can't be deleted automatically.)
var callQueueArgs = amqp091.Table{"x-expires": int32(10_000)}

// A serving is one endpoint served by a Conn, through all its generations.
type serving struct {
	conn     *Conn
	endpoint backend.Endpoint
	handler  backend.Handler
	queue    string
	ctx      context.Context // parent of its handlers' contexts
	cancel   context.CancelCauseFunc
	idle     chan struct{} // closed when it has left and nothing runs or remains to be sent
	wake     signal.Signal // its goroutine has something to do
	stats    stats

	mu      sync.Mutex
	visits  map[string]*visit // that wait or run, by caller and correlation id
	slots   int               // taken by handlers
	running int               // goroutines that answer: handlers, refusals, what is handed on
	made    time.Time         // when this instance made the queue; zero: another did
	hurry   bool              // it doesn't wait for what runs before it leaves the broker

	left  context.Context // ends when it takes no more calls
	leave context.CancelFunc
}

// A subscription is a serving's consumer in one generation. It belongs to the serving's goroutine, but for acks.
type subscription struct {
	serving    *serving
	gen        *generation
	ch         *amqp091.Channel
	deliveries <-chan amqp091.Delivery
	line       []*visit // that wait for a slot, oldest first; at most the prefetch
	tag        string   // of the consumer
	share      *share   // of the Conn's room
	cancelled  bool     // the consumer
	alone      bool     // no other instance consumes, as last seen while leaving
	empty      bool     // nothing waited in the queue then

	acks []uint64 // due; guarded by serving.mu
}

// Serve implements backend.Calls. While the broker is away it returns at once: the instance is found as soon as the broker
// is back.
func (c *calls) Serve(ctx context.Context, e backend.Endpoint, h backend.Handler) (backend.Serving, error) {
	queue := prefixCalls + e.Service
	if e.Service == "" || len(queue)+len(e.Instance.ID)+1 > envelope.MaxShort {
		return nil, backend.Errorf(backend.ErrInvalidArgument, "a service named %.80q: the name must not be empty, nor longer than %d bytes with the instance's id",
			e.Service, envelope.MaxShort-len(prefixCalls)-1)
	}
	s := &serving{
		conn: c.conn, endpoint: e, handler: h, queue: queue, visits: map[string]*visit{},
		idle: make(chan struct{}), wake: signal.New(),
	}
	s.endpoint.Concurrency = max(e.Concurrency, 1)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.left, s.leave = context.WithCancel(context.Background())
	c.conn.mu.Lock()
	c.conn.serving[s] = struct{}{}
	c.conn.mu.Unlock()
	first := make(chan error, 1)
	if !c.conn.begin(func() { s.run(first) }) {
		s.gone()
		return nil, errClosed()
	}
	select {
	case err := <-first:
		if err == nil {
			return s, nil
		}
		s.Close(errShutdown)
		return nil, err
	case <-ctx.Done():
		s.Close(errShutdown)
		return nil, gaveUp(ctx, "beginning to serve "+e.Service, backend.OutcomeUnknown)
	}
}

// gone forgets the serving, which has nothing more to do.
func (s *serving) gone() {
	s.leave()
	s.cancel(nil)
	s.conn.mu.Lock()
	delete(s.conn.serving, s)
	s.conn.mu.Unlock()
	close(s.idle)
}

// run serves in one generation after the other. first gets what came of the first attempt: nil also when the broker went
// away meanwhile, an error when it refuses.
func (s *serving) run(first chan<- error) {
	defer s.gone()
	defer s.conn.trouble(s, nil)
	say := func(err error) {
		select {
		case first <- err:
		default:
		}
	}
	for pause := resubscribeFirst; !s.hasLeft(); {
		if _, err := s.conn.usable(); err != nil {
			say(nil)
		}
		g := s.conn.await(s.left, nil)
		if g == nil {
			break
		}
		sub, err := s.subscribe(g)
		switch {
		case err == nil:
			say(nil)
			s.conn.trouble(s, nil)
			pause = resubscribeFirst
			s.attend(sub)
		case g.hasEnded() || s.hasLeft():
			say(nil)
		case g.isBlocked(): // it can't be announced
			say(nil)
			g.flows(s.left)
		default:
			say(err)
			s.conn.trouble(s, err)
			s.conn.log.Warn("a service can't be served", "service", s.endpoint.Service, "error", err)
			pause = min(2*pause, resubscribeMost)
		}
		// The generation has ended, or only the channel: somebody deleted the queue, perhaps.
		select {
		case <-time.After(pause):
		case <-s.left.Done():
		}
	}
	say(nil)
	s.settle()
}

const (
	resubscribeFirst = 20 * time.Millisecond
	resubscribeMost  = 2 * time.Second
)

// subscribe opens a channel and consumes.
func (s *serving) subscribe(g *generation) (*subscription, error) {
	_, there, err := g.clerk.look(s.left, s.queue)
	if err != nil {
		return nil, asError(explainQueue(s.queue, err), backend.ErrUnavailable, "serving "+s.endpoint.Service, backend.OutcomeUnknown)
	}
	ch, err := g.consume.Channel()
	if err != nil {
		return nil, err
	}
	sub := &subscription{serving: s, gen: g, ch: ch, alone: true, tag: newID()}
	sub.share = s.conn.room.open(sub.tag, backend.MaxMessage, true)
	if e := g.mayPublish(s.left, "serving "+s.endpoint.Service, route{exchangeControl, newKey + s.endpoint.Service},
		route{exchangeCalls, s.endpoint.Service}, route{"", g.control}); e != nil {
		err = e
	}
	if err == nil {
		_, err = ch.QueueDeclare(s.queue, true, true, false, false, callQueueArgs)
	}
	if err == nil {
		err = sub.bindControl(false)
	}
	s.mu.Lock()
	s.made = time.Time{}
	if err == nil && !there {
		s.made = time.Now()
	}
	s.mu.Unlock()
	if err == nil && !there {
		if e := s.announce(g); e != nil {
			err = e
		}
	}
	if err == nil {
		err = sub.bindCalls(false)
	}
	// Per consumer, and never global: RabbitMQ 4 refuses that.
	if err == nil {
		err = ch.Qos(min(2*s.endpoint.Concurrency, 65535), 0, false)
	}
	if err == nil {
		sub.deliveries, err = ch.Consume(s.queue, sub.tag, false, false, false, false, nil)
	}
	if err != nil {
		sub.share.close()
		g.dispose(ch)
		return nil, asError(explainQueue(s.queue, err), backend.ErrUnavailable, "serving "+s.endpoint.Service, backend.OutcomeUnknown)
	}
	return sub, nil
}

// attend serves until the generation or the channel has ended, or the serving has left.
func (s *serving) attend(sub *subscription) {
	defer sub.abandon()
	var look *time.Ticker
	var tick <-chan time.Time
	left := s.left.Done()
	rebind := time.NewTicker(s.conn.rebindEvery())
	defer rebind.Stop()
	for {
		select {
		case d, ok := <-sub.deliveries:
			if !ok {
				if !sub.cancelled || sub.ch.IsClosed() {
					return
				}
				sub.deliveries = nil
				break
			}
			sub.arrive(d)
		case <-s.wake.C():
		case <-tick:
		case <-rebind.C:
			if !s.hasLeft() && (sub.bindControl(true) != nil || sub.bindCalls(true) != nil) {
				return // the channel has ended
			}
		case <-left:
			left = nil
		case <-sub.gen.lost:
			return
		}
		sub.begin()
		sub.acknowledge()
		if s.hasLeft() {
			if look == nil {
				look = time.NewTicker(leavingEvery)
				defer look.Stop()
				tick = look.C
			}
			if sub.leave() {
				return
			}
		}
	}
}

// arrive takes a request in.
func (sub *subscription) arrive(d amqp091.Delivery) {
	s := sub.serving
	v := &visit{sub: sub, tag: d.DeliveryTag, replyTo: d.ReplyTo, id: d.CorrelationId, key: d.AppId + "\x00" + d.CorrelationId}
	if was, _ := cutOff(d.Body); was == taken {
		v.size = len(d.Body)
		sub.share.received(v.size)
	}
	if d.Type == controlHere { // see mayPublish
		v.discard()
		return
	}
	if why, ok := v.suspicious(&d); ok {
		s.conn.reject(why, &d)
		v.discard()
		return
	}
	var refusal *backend.Error
	if v.req, refusal = decodeRequest(&d, s.endpoint.Service); refusal != nil {
		v.refuse(refusal)
		return
	}
	v.until = time.Now().Add(v.req.Timeout)
	s.mu.Lock()
	s.visits[v.key] = v
	s.mu.Unlock()
	sub.line = append(sub.line, v)
}

// begin starts the requests for which there is a slot; once the serving has left, it sends them away.
func (sub *subscription) begin() {
	s := sub.serving
	for len(sub.line) > 0 {
		s.mu.Lock()
		v := sub.line[0]
		free, left := s.slots < s.endpoint.Concurrency, s.hasLeft()
		dead := v.dropped || !time.Now().Before(v.until)
		if free && !left && !dead {
			s.slots++
			s.running++
		}
		s.mu.Unlock()
		if left || !free && !dead {
			return
		}
		sub.line[0] = nil
		sub.line = sub.line[1:]
		if dead {
			v.drop()
		} else {
			v.start()
		}
	}
	sub.line = nil
}

// acknowledge acknowledges what is due: on the channel that it came by, or never.
func (sub *subscription) acknowledge() {
	s := sub.serving
	s.mu.Lock()
	acks := sub.acks
	sub.acks = nil
	s.mu.Unlock()
	for _, tag := range acks {
		if sub.ch.Ack(tag, false) != nil {
			return // the channel has ended
		}
	}
}

// abandon leaves the channel. What was not begun may have gone with the queue, or to another instance, which knows that it
// comes again; so whoever waits for it hears that it was not begun here.
func (sub *subscription) abandon() {
	sub.acknowledge()
	for _, v := range sub.line {
		v.refuse(errAbandoned)
	}
	sub.line = nil
	sub.share.close()
	sub.gen.dispose(sub.ch)
}

var errAbandoned = backend.NewError(backend.ErrUnavailable, "the instance lost its connection with RabbitMQ before it began the call").
	With(backend.OutcomeNotSent)

var _ backend.Serving = (*serving)(nil)
