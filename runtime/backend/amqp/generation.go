package amqp

import (
	"context"
	"fmt"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// The names on the broker. A permission pattern of ^af\..* covers all but amq.rabbitmq.reply-to, which needs none.
const (
	exchangeCalls   = "af.rpc"  // direct, or topic if an administrator makes it; durable: key = service
	exchangeControl = "af.ctl"  // topic, durable: key = service or service.instance
	prefixCalls     = "af.rpc." // queues: of services
	prefixControl   = "af.ctl." // of each Conn: control messages
	prefixHints     = "af.hint."
	prefixRaw       = "af.raw."
	replyTo         = "amq.rabbitmq.reply-to"
)

// A generation is two connections with what was opened on them. It ends as a whole.
type generation struct {
	conn   *Conn
	number int
	target target
	born   time.Time
	seen   time.Time // when others could see it first: see Visible

	publish, consume *link
	requests         *outlet // by this channel replies come back
	replies          *outlet // also control messages
	confirmed        *confirmer
	clerk            *clerk
	checker          *clerk // on the connection that publishes; nil: nothing needs to be checked
	control          string // the queue of control messages
	maxHeaders       int    // bytes of headers that fit into a frame

	lost chan struct{}  // closed when it has ended
	err  *backend.Error // why; readable once lost is closed

	mu       sync.Mutex
	blocked  chan struct{} // closed while the broker takes no messages
	isStuck  bool
	declared map[string]bool // durable queues that are known to be there
	heard    map[string]bool // services of whose new queues the Conn hears
	allowed  map[route]bool  // where the user is known to be allowed to publish

	wg sync.WaitGroup // of every goroutine of the generation
}

// open opens a generation at a target: connections, channels, exchanges, and what consumes on them.
func (c *Conn) open(ctx context.Context, t target, number int) (_ *generation, err error) {
	g := &generation{
		conn: c, number: number, target: t, born: time.Now(), lost: make(chan struct{}), blocked: make(chan struct{}), declared: map[string]bool{},
		heard: map[string]bool{}, allowed: map[route]bool{},
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
	// The library's calls don't know contexts, but end with their socket.
	defer context.AfterFunc(ctx, func() { g.end(errClosed()) })()
	setup := time.AfterFunc(t.timeout, func() {
		g.end(backend.NewError(backend.ErrUnavailable, "the broker doesn't answer"))
	})
	defer setup.Stop()
	if err = g.equip(); err != nil {
		return nil, t.explain(err)
	}
	if err = g.probeFlow(ctx); err != nil {
		return nil, err
	}
	g.begin(func() { g.upkeep(c.ctx) })
	g.seen = time.Now()
	return g, nil
}

// attach dials one of the connections.
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

// equip declares the exchanges and opens the channels that every generation has.
func (g *generation) equip() error {
	g.clerk = &clerk{gen: g, link: g.consume, jobs: make(chan job, clerkQueue)}
	if err := g.exchanges(); err != nil {
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
	returns := channels[0].NotifyReturn(make(chan amqp091.Return, outletQueue))
	if err := g.openControl(); err != nil {
		return err
	}
	if g.confirmed, err = newConfirmer(g, channels[2]); err != nil {
		return err
	}
	g.requests, g.replies = newOutlet(g, channels[0]), newOutlet(g, channels[1])
	calls := &g.conn.calls
	g.begin(func() {
		for d := range replies {
			calls.replied(d)
		}
	})
	g.begin(func() {
		for r := range returns {
			calls.returned(r)
		}
	})
	g.begin(g.clerk.run)
	if g.checker != nil {
		g.begin(g.checker.run)
	}
	return nil
}

// watch ends the generation with one of its connections, and notes when the broker takes no messages. False: it has ended.
func (g *generation) watch(l *link) bool {
	return g.begin(func() {
		for b := range l.blocked {
			if l == g.publish {
				g.block(b)
			}
		}
	}) && g.begin(func() {
		if e := <-l.closes; e != nil { // nil: the farewell
			g.end(backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s: %s (%d)", g.target, e.Reason, e.Code))
		}
	})
}

// own ends the generation when a channel that it can't do without is closed.
func (g *generation) own(what string, ch *amqp091.Channel) {
	closes := ch.NotifyClose(make(chan *amqp091.Error, 1))
	g.begin(func() {
		if e := <-closes; e != nil {
			g.end(backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s closed the channel for %s: %s (%d)", g.target, what, e.Reason, e.Code))
		}
	})
}

// begin runs f on a goroutine of the generation, unless it has ended. f ends with the generation.
func (g *generation) begin(f func()) bool {
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

// end ends the generation. Sockets are closed, so that whoever writes or waits returns.
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

// farewell ends the generation as the protocol wants it, if that doesn't take long.
func (g *generation) farewell() {
	if !g.isBlocked() {
		deadline := time.Now().Add(farewellTime)
		_ = g.consume.CloseDeadline(deadline)
		_ = g.publish.CloseDeadline(deadline)
	}
	g.end(errClosed())
}

const farewellTime = time.Second

// wait waits for the generation's goroutines, which end with it.
func (g *generation) wait() { g.wg.Wait() }

// block notes whether the broker takes messages.
func (g *generation) block(b amqp091.Blocking) {
	g.mu.Lock()
	if g.isStuck == b.Active {
		g.mu.Unlock()
		return
	}
	g.isStuck = b.Active
	if b.Active {
		close(g.blocked)
	} else {
		g.blocked = make(chan struct{})
	}
	g.mu.Unlock()
	if b.Active {
		g.conn.log.Debug("RabbitMQ takes no messages: calls fail and hints wait", "at", g.target.String(), "reason", b.Reason)
	} else {
		g.conn.log.Debug("RabbitMQ takes messages again", "at", g.target.String())
	}
	g.conn.mu.Lock()
	defer g.conn.mu.Unlock()
	g.conn.change()
}

func (g *generation) isBlocked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.isStuck
}

// blocking returns a channel that is closed while, or as soon as, the broker takes no messages.
func (g *generation) blocking() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.blocked
}

// dispose closes a channel of the protocol without making anyone wait for the broker. What is unacknowledged on it goes
// back to its queue.
func (g *generation) dispose(ch *amqp091.Channel) {
	g.begin(func() { _ = ch.Close() })
}
