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

// callQueueArgs are the arguments of a service's queue. The queue is shared, durable, and deleted with its last
// consumer (auto-delete). It is durable because RabbitMQ 4 deprecates shared transient queues and refuses them once
// that feature is off; 3.10 and 4 both support durable auto-delete queues. The messages are transient and never written
// to disk. After a restart of the broker, a durable queue has no consumer whose end would delete it, so it also
// expires. It is a classic queue, since quorum queues can't be auto-delete.
var callQueueArgs = amqp091.Table{"x-expires": int32(10_000)}

// A serving is an endpoint served by a Conn, across generations.
type serving struct {
	conn     *Conn
	endpoint backend.Endpoint
	handler  backend.Handler
	queue    string
	ctx      context.Context // parent of handlers' contexts
	cancel   context.CancelCauseFunc
	idle     chan struct{} // closed when it has drained and sent all replies
	wake     signal.Signal // wakes run
	stats    stats

	mu       sync.Mutex
	requests map[string]*request // waiting or running, by caller and correlation ID
	slots    int                 // taken by handlers
	starved  bool                // requests wait for a slot
	running  int                 // goroutines of handlers, refusals and handovers
	created  time.Time           // when this instance created the queue; zero if another instance did
	closing  bool                // unsubscribe without waiting for running calls

	draining      context.Context // ends when it takes no more calls
	startDraining context.CancelFunc
}

// A callSubscription is a serving's consumer in one generation. The serving's goroutine owns it, except for acks.
type callSubscription struct {
	serving    *serving
	gen        *generation
	ch         *amqp091.Channel
	deliveries <-chan amqp091.Delivery
	waiting    []*request // for a slot, oldest first; at most the prefetch
	tag        string     // of the consumer
	share      *share     // of the Conn's budget
	cancelled  bool       // the consumer was cancelled
	last       bool       // when last checked while draining, no other instance consumed
	empty      bool       // when last checked while draining, the queue was empty

	acks acks
}

// Serve implements backend.Calls. If the broker is down, it returns at once, and the instance becomes reachable when
// the broker is back.
func (c *calls) Serve(ctx context.Context, e backend.Endpoint, h backend.Handler) (backend.Serving, error) {
	queue := prefixCalls + e.Service
	if e.Service == "" || len(queue)+len(e.Instance.ID)+1 > envelope.MaxShort {
		return nil, backend.Errorf(backend.ErrInvalidArgument,
			"service %.80q: the name must not be empty, and not longer than %d bytes including the instance's ID", e.Service,
			envelope.MaxShort-len(prefixCalls)-1)
	}
	s := &serving{
		conn: c.conn, endpoint: e, handler: h, queue: queue, requests: map[string]*request{},
		idle: make(chan struct{}), wake: signal.New(),
	}
	s.endpoint.Concurrency = max(e.Concurrency, 1)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.draining, s.startDraining = context.WithCancel(context.Background())
	c.conn.mu.Lock()
	c.conn.serving[s] = struct{}{}
	c.conn.mu.Unlock()
	first := make(chan error, 1)
	if !c.conn.spawn(func() { s.run(first) }) {
		s.unregister()
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
		return nil, contextError(ctx, "serving "+e.Service, backend.OutcomeUnknown)
	}
}

// unregister ends the serving once it has drained.
func (s *serving) unregister() {
	s.startDraining()
	s.cancel(nil)
	s.conn.mu.Lock()
	delete(s.conn.serving, s)
	s.conn.mu.Unlock()
	close(s.idle)
}

// run serves in one generation after another. first receives the result of the first attempt: nil also if the broker
// became unavailable meanwhile, an error if the broker rejects it.
func (s *serving) run(first chan<- error) {
	defer s.unregister()
	defer s.conn.setConsumeErr(s, nil)
	report := func(err error) {
		select {
		case first <- err:
		default:
		}
	}
	for pause := resubscribeFirst; !s.isDraining(); {
		if _, err := s.conn.usable(); err != nil {
			report(nil)
		}
		g := s.conn.awaitGeneration(s.draining, nil)
		if g == nil {
			break
		}
		sub, err := s.subscribe(g)
		switch {
		case err == nil:
			report(nil)
			s.conn.setConsumeErr(s, nil)
			pause = resubscribeFirst
			s.serveOn(sub)
		case g.hasEnded() || s.isDraining():
			report(nil)
		case g.isStalled(): // the queue can't be announced
			report(nil)
			g.awaitResponsive(s.draining)
		default:
			report(err)
			s.conn.setConsumeErr(s, err)
			s.conn.log.Warn("subscribing to calls failed", "service", s.endpoint.Service, "error", err)
			pause = min(2*pause, resubscribeMost)
		}
		// Either the generation has ended, or only the channel, for example because the queue was deleted.
		select {
		case <-time.After(pause):
		case <-s.draining.Done():
		}
	}
	report(nil)
	s.waitForHandlers()
}

const (
	resubscribeFirst = 20 * time.Millisecond
	resubscribeMost  = 2 * time.Second
)

// subscribe declares and binds the queue, announces it if it is new, and starts a consumer.
func (s *serving) subscribe(g *generation) (*callSubscription, error) {
	_, exists, err := g.inspector.inspectQueue(s.draining, s.queue)
	if err != nil {
		return nil, asError(explainQueue(s.queue, err), backend.ErrUnavailable, "serving "+s.endpoint.Service,
			backend.OutcomeUnknown)
	}
	ch, err := g.consume.Channel()
	if err != nil {
		return nil, err
	}
	prefetch := min(2*s.endpoint.Concurrency, 65535)
	sub := &callSubscription{serving: s, gen: g, ch: ch, last: true, tag: newID(), acks: newAcks(prefetch)}
	sub.share = s.conn.budget.open(sub.tag, backend.MaxMessage, true)
	if e := g.mayPublish(s.draining, "serving "+s.endpoint.Service, route{exchangeControl, newKey + s.endpoint.Service},
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
	s.created = time.Time{}
	if err == nil && !exists {
		s.created = time.Now()
	}
	s.mu.Unlock()
	if err == nil && !exists {
		if e := s.announceQueue(g); e != nil {
			err = e
		}
	}
	if err == nil {
		err = sub.bindCalls(false)
	}
	// The prefetch is per consumer: RabbitMQ 4 refuses a global one.
	if err == nil {
		err = ch.Qos(prefetch, 0, false)
	}
	if err == nil {
		sub.deliveries, err = ch.Consume(s.queue, sub.tag, false, false, false, false, nil)
	}
	if err != nil {
		sub.share.close()
		g.dispose(ch)
		return nil, asError(explainQueue(s.queue, err), backend.ErrUnavailable, "serving "+s.endpoint.Service,
			backend.OutcomeUnknown)
	}
	return sub, nil
}

// serveOn serves until the generation or the channel has ended, or the serving has drained.
func (s *serving) serveOn(sub *callSubscription) {
	defer sub.abandon()
	var poll *time.Ticker
	var tick <-chan time.Time
	draining := s.draining.Done()
	rebind := time.NewTicker(s.conn.rebindEvery())
	defer rebind.Stop()
	for {
		late := false
		select {
		case d, ok := <-sub.deliveries:
			if !ok {
				if !sub.cancelled || sub.ch.IsClosed() {
					return
				}
				sub.deliveries = nil
				break
			}
			sub.receive(d)
		case <-s.wake.C():
		case <-tick:
		case <-sub.acks.timer.C:
			late = true
		case now := <-rebind.C:
			sub.acknowledgeLong(now)
			if !s.isDraining() && (sub.bindControl(true) != nil || sub.bindCalls(true) != nil) {
				return // the channel has ended
			}
		case <-draining:
			draining = nil
		case <-sub.gen.lost:
			return
		}
		sub.startRequests()
		sub.acknowledge(late)
		if s.isDraining() {
			if poll == nil {
				poll = time.NewTicker(drainPoll)
				defer poll.Stop()
				tick = poll.C
			}
			if sub.drainStep() {
				return
			}
		}
	}
}

// receive accepts a delivered request.
func (sub *callSubscription) receive(d amqp091.Delivery) {
	s := sub.serving
	r := &request{
		sub: sub, deliveryTag: d.DeliveryTag, replyTo: d.ReplyTo, reads: d.Priority, correlationID: d.CorrelationId,
		callKey: d.AppId + "\x00" + d.CorrelationId,
	}
	if was, _ := parsePlaceholder(d.Body); was == accepted {
		r.size = len(d.Body)
		sub.share.received(r.size)
	}
	s.mu.Lock()
	sub.acks.unacked = append(sub.acks.unacked, r)
	s.mu.Unlock()
	if d.Type == controlHere { // see mayPublish
		r.discard()
		return
	}
	if why, ok := r.checkRoute(&d); ok {
		s.conn.countDropped(why, &d)
		r.discard()
		return
	}
	var refusal *backend.Error
	if r.req, refusal = decodeRequest(&d, s.endpoint.Service); refusal != nil {
		r.refuse(refusal)
		return
	}
	r.deadline = time.Now().Add(r.req.Timeout)
	s.mu.Lock()
	s.requests[r.callKey] = r
	s.mu.Unlock()
	sub.waiting = append(sub.waiting, r)
}

// startRequests starts waiting requests while slots are free and the serving isn't draining. It drops expired ones.
func (sub *callSubscription) startRequests() {
	s := sub.serving
	for len(sub.waiting) > 0 {
		s.mu.Lock()
		r := sub.waiting[0]
		free, draining := s.slots < s.endpoint.Concurrency, s.isDraining()
		dead := r.dropped || !time.Now().Before(r.deadline)
		if free && !draining && !dead {
			s.slots++
			s.running++
		}
		s.starved = !free
		s.mu.Unlock()
		if draining || !free && !dead {
			return
		}
		sub.waiting[0] = nil
		sub.waiting = sub.waiting[1:]
		if dead {
			r.dropExpired()
		} else {
			r.start()
		}
	}
	sub.waiting = nil
}

// abandon ends the subscription. Requests that haven't started may be lost with the queue, or redelivered to another
// instance, which sees that. So their callers are told that this instance hasn't started them.
func (sub *callSubscription) abandon() {
	sub.acknowledge(true)
	sub.acks.timer.Stop()
	for _, r := range sub.waiting {
		r.refuse(errAbandoned)
	}
	sub.waiting = nil
	sub.share.close()
	sub.gen.dispose(sub.ch)
}

var errAbandoned = backend.NewError(backend.ErrUnavailable,
	"the instance lost its connection to RabbitMQ before the call started").With(backend.OutcomeNotSent)

var _ backend.Serving = (*serving)(nil)
