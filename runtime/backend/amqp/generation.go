package amqp

import (
	"context"
	"fmt"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/connstate"
)

// The names on the broker. A permission pattern of ^af\..* covers all of them except amq.rabbitmq.reply-to, which needs
// no permission.
const (
	exchangeCalls   = "af.rpc"  // direct, or topic if created by an administrator; durable; routing key: service
	exchangeControl = "af.ctl"  // topic, durable; routing key: service or service.instance
	prefixCalls     = "af.rpc." // queues of services
	prefixControl   = "af.ctl." // queue of each generation, for control messages
	prefixHints     = "af.hint."
	prefixRaw       = "af.raw."
	replyTo         = "amq.rabbitmq.reply-to"
)

// A generation is two connections and everything opened on them. It ends as a whole.
type generation struct {
	conn         *Conn
	number       int
	target       target
	born         time.Time
	visibleSince time.Time // see Visible

	publish, consume *link
	requests         *publisher // replies arrive on its channel
	replies          *publisher // also publishes control messages
	confirmed        *confirmer
	declarer         *declarer
	inspector        *declarer // for queues of services, which may be on a node that doesn't respond
	checker          *declarer // on the publishing connection; nil if no permission needs checking
	control          string    // name of the queue for control messages; see controlled
	maxHeaders       int       // bytes of headers that fit into a frame

	lost chan struct{}  // closed when the generation has ended
	err  *backend.Error // why; valid once lost is closed

	hinting *connstate.State // down while confirms are late; see liveness.go

	mu         sync.Mutex
	blocked    condition       // the broker blocks publishers
	silent     condition       // the broker doesn't answer; see liveness.go
	stalled    condition       // blocked or silent
	declared   map[string]bool // durable queues known to exist
	controlled bool            // the queue for control messages is open
	renewals   map[string]bool // services whose renewal events this Conn receives
	allowed    map[route]bool  // routes to which the user may publish

	wg sync.WaitGroup
}

// open opens a generation: connections, channels, exchanges and consumers.
func (c *Conn) open(ctx context.Context, t target, number int) (_ *generation, err error) {
	g := &generation{
		conn: c, number: number, target: t, born: time.Now(), lost: make(chan struct{}),
		hinting: connstate.New(), blocked: newCondition(), silent: newCondition(), stalled: newCondition(),
		declared: map[string]bool{}, renewals: map[string]bool{}, allowed: map[route]bool{},
		control: fmt.Sprint(prefixControl, c.id, ".", number),
	}
	defer func() {
		if err != nil {
			g.end(asError(err, backend.ErrUnavailable, "opening", backend.OutcomeUnknown))
			g.wait()
		}
	}()
	name := "afgen " + c.config.Instance.ID
	if err = g.attach(ctx, &g.publish, name+" publish"); err != nil {
		return nil, err
	}
	if err = g.attach(ctx, &g.consume, name+" consume"); err != nil {
		return nil, err
	}
	g.maxHeaders = maxHeaders
	if frame := g.publish.Config.FrameSize; frame > 0 {
		g.maxHeaders = min(maxHeaders, frame-frameReserve)
	}
	// The library's calls take no context, but end with their socket.
	defer context.AfterFunc(ctx, func() { g.end(errClosed()) })()
	setup := time.AfterFunc(t.timeout, func() {
		g.end(backend.NewError(backend.ErrUnavailable, "the broker doesn't respond"))
	})
	defer setup.Stop()
	if err = g.openChannels(); err != nil {
		return nil, t.explain(err)
	}
	if err = g.probeFlow(ctx); err != nil {
		return nil, err
	}
	g.spawn(func() { g.upkeep(c.ctx) })
	g.spawn(g.watchLiveness)
	g.visibleSince = time.Now()
	return g, nil
}

// attach dials one of the two connections.
func (g *generation) attach(ctx context.Context, as **link, name string) error {
	l, err := g.conn.dial(ctx, g.target, name)
	if err != nil {
		return err
	}
	g.mu.Lock()
	*as = l
	g.mu.Unlock()
	if g.watch(l) {
		return nil
	}
	_ = l.sock.Close()
	return g.err
}

// openChannels declares the exchanges and opens the channels of the generation.
func (g *generation) openChannels() error {
	g.declarer = &declarer{gen: g, link: g.consume, jobs: make(chan job, declarerQueue)}
	g.inspector = &declarer{gen: g, link: g.consume, jobs: make(chan job, declarerQueue)}
	if err := g.declareExchanges(); err != nil {
		return err
	}
	channels := make([]*amqp091.Channel, 0, 3)
	for range cap(channels) {
		ch, err := g.publish.Channel()
		if err != nil {
			return err
		}
		channels = append(channels, ch)
	}
	replies, err := channels[0].Consume(replyTo, "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	returns := channels[0].NotifyReturn(make(chan amqp091.Return, publisherQueue))
	if !g.conn.config.Observer {
		if err := g.openControl(); err != nil {
			return err
		}
	}
	if g.confirmed, err = newConfirmer(g, channels[2]); err != nil {
		return err
	}
	g.requests, g.replies = newPublisher(g, channels[0]), newPublisher(g, channels[1])
	calls := &g.conn.calls
	g.spawn(func() {
		for d := range replies {
			calls.onReply(d)
		}
	})
	g.spawn(func() {
		for r := range returns {
			calls.onReturn(r)
		}
	})
	g.spawn(g.declarer.run)
	g.spawn(g.inspector.run)
	if g.checker != nil {
		g.spawn(g.checker.run)
	}
	return nil
}

// watch ends the generation when a connection ends, and records when the broker blocks publishers. It returns false if
// the generation has ended.
func (g *generation) watch(l *link) bool {
	return g.spawn(func() {
		for b := range l.blocked {
			if l == g.publish {
				g.setBlocked(b)
			}
		}
	}) && g.spawn(func() {
		if e := <-l.closes; e != nil { // nil: closed by closeGracefully
			g.end(backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s: %s (%d)", g.target, e.Reason, e.Code))
		}
	})
}

// endOnClose ends the generation when a channel that it needs is closed.
func (g *generation) endOnClose(what string, ch *amqp091.Channel) {
	closes := ch.NotifyClose(make(chan *amqp091.Error, 1))
	g.spawn(func() {
		if e := <-closes; e != nil {
			g.end(backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s closed the channel for %s: %s (%d)", g.target, what,
				e.Reason, e.Code))
		}
	})
}

// spawn runs f, which must end with the generation, on a goroutine. It returns false if the generation has ended.
func (g *generation) spawn(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hasEnded() {
		return false
	}
	g.wg.Go(f)
	return true
}

func (g *generation) hasEnded() bool {
	select {
	case <-g.lost:
		return true
	default:
		return false
	}
}

// end ends the generation. It closes the sockets, so that blocked reads and writes return.
func (g *generation) end(why *backend.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hasEnded() {
		return
	}
	g.err = why
	close(g.lost)
	for _, l := range []*link{g.publish, g.consume} {
		if l != nil {
			_ = l.sock.Close()
		}
	}
}

// closeGracefully closes the connections with the protocol's handshake, within closeTimeout.
func (g *generation) closeGracefully() {
	if !g.isStalled() {
		deadline := time.Now().Add(closeTimeout)
		_ = g.consume.CloseDeadline(deadline)
		_ = g.publish.CloseDeadline(deadline)
	}
	g.end(errClosed())
}

const closeTimeout = time.Second

// wait waits for the generation's goroutines.
func (g *generation) wait() { g.wg.Wait() }

// setBlocked records whether the broker blocks publishers.
func (g *generation) setBlocked(b amqp091.Blocking) {
	if !g.set(&g.blocked, b.Active) {
		return
	}
	if b.Active {
		g.conn.log.Debug("RabbitMQ is blocking publishers: calls fail and hints wait", "at", g.target.String(),
			"reason", b.Reason)
	} else {
		g.conn.log.Debug("RabbitMQ no longer blocks publishers", "at", g.target.String())
	}
}

func (g *generation) isBlocked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.blocked.is
}

// dispose closes a channel in the background. Its unacknowledged messages return to their queues.
func (g *generation) dispose(ch *amqp091.Channel) {
	g.spawn(func() { _ = ch.Close() })
}
