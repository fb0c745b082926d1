// Package amqp carries calls, hints and raw messages over RabbitMQ: the ports Calls and Transport, on amqp091-go. It is
// written for RabbitMQ 4 and works on 3.10; what other languages need to know is in docs/wire.md.
//
// # Connections
//
// A [Conn] has two connections, since a broker that runs out of memory or disk stops reading from whoever publishes: what
// is published goes over one of them, what is consumed and acknowledged over the other. Both together are a generation
// (generation.go). When either ends, both do; the supervisor (supervisor.go) then opens the next one, for ever, with full
// jitter. Nothing is carried from one generation to the next: calls in flight fail at once, deliveries are never
// acknowledged on another channel than theirs, and everything that consumes subscribes anew.
//
//	amqp.go, target.go     configuration, dialing, what may be said of an address
//	supervisor.go          which generation there is       generation.go  its connections, channels and goroutines
//	outlet.go, confirm.go  publishing                      clerk.go       declaring, looking
//	upkeep.go              what finds and heals deleted exchanges and bindings
//	sieve.go, room.go      what keeps large bodies out of the process
//
// One goroutine owns each channel of the protocol. A context can't interrupt a write to a socket, so nobody who has one
// writes: messages wait in the bounded queue of an outlet, whose goroutine publishes them, and can be withdrawn until it
// does. So an error can say whether a request was sent.
//
// # Calls
//
// A request goes to the queue of its service, which exists while an instance consumes from it: a mandatory publish comes
// back at once where there is none. The reply comes straight to the channel that the request left by (direct reply-to).
//
//	envelope.go        Request and Reply as properties and headers
//	call.go, net.go, renewal.go    the caller's side, and what finds calls that will not be answered
//	serve.go, visit.go, leave.go   the instance's side: slots, acknowledgements, draining
//	control.go, stats.go           cancellation, ping, info and stats over the exchange af.ctl
//	trust.go, permit.go            which messages count, and which are dropped; what a user may do
//
// # Hints and raw messages
//
// Both have a durable queue for each queue of tasks, af.hint.* and af.raw.*. What a broker confirms has been taken; what
// it returns or refuses has not (transport.go, listener.go, raw.go). Hints are short-lived; raw messages are persistent.
package amqp

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Config says how to reach the broker, and as whom.
type Config struct {
	// URLs are amqp:// or amqps:// URLs, with the virtual host as path. They are tried in turn: the nodes of one cluster.
	// Where there is none the fields below are used.
	URLs []string

	Host     string // 127.0.0.1 where it is empty
	Port     int    // 5672, or 5671 with TLS, where it is 0
	VHost    string // "/" where it is empty
	Username string // guest where it is empty, with the password guest
	Password string

	// TLS makes a connection by the fields above one of TLS, and configures those of amqps:// URLs.
	TLS *tls.Config
	// ConnectTimeout bounds the opening of one connection. 0 is the URL's connection_timeout, or 10 s.
	ConnectTimeout time.Duration
	// Heartbeat is how often either side says that it is there; the connection ends after three that didn't come. 0 is the
	// URL's heartbeat, or 10 s.
	Heartbeat time.Duration

	// Database is the name of the database whose task ids the hints carry. It is part of the names of their queues: programs
	// with different databases may share a virtual host. If it is empty, so is that part.
	Database string

	// Instance is who speaks.
	Instance backend.Instance
	// Logger gets what an operator may want to know; nil drops it.
	Logger *slog.Logger
	// Quorum makes the queues of hints and raw messages quorum queues: replicated, and slower. All who share them must
	// agree.
	Quorum bool
	// Degraded lets Dial succeed while no broker can be reached. One that can be reached and refuses is an error still.
	Degraded bool

	rebindEvery time.Duration // 0 is defaultRebindEvery
}

// A Conn is open to a broker, or tries to be. It is safe for concurrent use.
type Conn struct {
	config  Config
	targets []target
	id      string // of this Conn among all, in the names of its control queues
	log     *slog.Logger

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // of every goroutine but those of generations and handlers

	mu       sync.Mutex
	closed   bool
	current  *generation    // nil while there is none
	why      *backend.Error // there is none
	changed  chan struct{}  // closed at the next change of what State says
	serving  map[*serving]struct{}
	troubles map[any]error // why servings and listeners can't consume

	guarded map[string]bool // exchanges that the user may not declare; of the supervisor's goroutine

	room      *room // for what is received
	rejected  [rejections]atomic.Int64
	calls     calls
	transport transport
}

// Dial opens a Conn. A nil error means that the broker can be used now, or with Config.Degraded that it will be as soon as
// it can be reached. Errors name the address, the virtual host and the cause, never a secret. ctx bounds the opening only.
// The caller closes the Conn.
func Dial(ctx context.Context, config Config) (*Conn, error) {
	targets, err := config.targets()
	if err != nil {
		return nil, err
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Conn{
		config: config, targets: targets, id: newID(), log: config.Logger,
		changed: make(chan struct{}), serving: map[*serving]struct{}{}, troubles: map[any]error{},
		guarded: map[string]bool{}, room: &room{most: maxRequests, consumers: map[string]*share{}},
		why: backend.NewError(backend.ErrUnavailable, "RabbitMQ is not connected yet").With(backend.OutcomeNotSent),
	}
	c.calls = calls{conn: c, newID: newID, pending: map[string]*pending{}, confirming: map[route]bool{}}
	c.transport = transport{conn: c, depths: map[string]depth{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	first := make(chan error, 1)
	c.wg.Go(func() { c.supervise(first) })
	c.wg.Go(c.calls.watch)
	select {
	case err = <-first:
	case <-ctx.Done():
		err = backend.Errorf(backend.CodeOf(ctx.Err()), "connecting to RabbitMQ at %s: %w", targets, context.Cause(ctx))
	}
	if err == nil && !config.Degraded {
		_, err = c.State() // a broker that takes no messages
	}
	if err == nil || config.Degraded && ctx.Err() == nil && !refused(err) {
		return c, nil
	}
	_ = c.Close(ctx)
	return nil, err
}

// Calls returns the port for calls.
func (c *Conn) Calls() backend.Calls { return &c.calls }

// Transport returns the port for hints and raw messages.
func (c *Conn) Transport() backend.Transport { return &c.transport }

// Err returns why nothing can be carried now, or why a service or listener can't consume; nil: all works.
func (c *Conn) Err() error {
	if _, err := c.usable(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, err := range c.troubles {
		return err
	}
	return nil
}

// State is Err, with a channel that is closed when that may have changed. What the Conn does about it, it says at level
// Debug only: whoever opened it knows more of what that means.
func (c *Conn) State() (changed <-chan struct{}, err error) {
	_, changed = c.transport.State()
	return changed, c.Err()
}

// Close ends everything: calls in flight fail as unavailable, outcome unknown; servings and listeners are closed, replies
// that are ready still sent. Handlers that run have their contexts cancelled and are not waited for. A nil error means that
// every goroutine of the Conn has ended. It may be called more than once.
func (c *Conn) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	var servings []*serving
	for s := range c.serving {
		servings = append(servings, s)
	}
	c.mu.Unlock()
	for _, s := range servings {
		s.Close(errShutdown)
	}
	grace := time.After(closeGrace)
	for _, s := range servings {
		select {
		case <-s.idle:
		case <-grace:
			grace = nil
		case <-ctx.Done():
		}
		if grace == nil || ctx.Err() != nil {
			break
		}
	}
	c.cancel()
	ended := make(chan struct{})
	go func() {
		c.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	select { // a context that has ended already is one that doesn't wait for long
	case <-ended:
		return nil
	case <-time.After(closeGrace):
		return backend.Errorf(backend.CodeOf(ctx.Err()), "closing the connections with RabbitMQ at %s: %w", c.targets[0], context.Cause(ctx))
	}
}

// closeGrace is how long Close waits for what should take no time.
const closeGrace = 200 * time.Millisecond

// errShutdown is why contexts end and calls fail when a Conn is closed.
var errShutdown = backend.NewError(backend.ErrUnavailable, "this app is shutting down")

// begin runs f on a goroutine of the Conn, unless it is closed.
func (c *Conn) begin(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

func errClosed() *backend.Error {
	return backend.NewError(backend.ErrUnavailable, "this app has shut down").With(backend.OutcomeNotSent)
}

// gaveUp is the error of what ended with its context.
func gaveUp(ctx context.Context, doing string, o backend.Outcome) *backend.Error {
	return backend.Errorf(backend.CodeOf(ctx.Err()), "%s: %w", doing, context.Cause(ctx)).With(o)
}

// asError returns err as an *Error of its own, with an outcome.
func asError(err error, code backend.Code, doing string, o backend.Outcome) *backend.Error {
	if e, ok := errors.AsType[*backend.Error](err); ok {
		own := *e
		return own.With(o)
	}
	return backend.Errorf(code, "%s: %w", doing, err).With(o)
}
