// Package amqp implements the ports [backend.Calls] and [backend.Transport] on RabbitMQ, with amqp091-go. It targets
// RabbitMQ 4 and also runs on 3.10. The wire format for clients in other languages is documented in docs/wire.md.
//
// # Connections
//
// A [Conn] holds two connections: one publishes, the other consumes and acknowledges. A broker that is short of memory
// or disk stops reading from publishers, and must still read acknowledgements. Both connections together are a
// generation. If either ends, both do, and the supervisor opens the next generation, retrying forever with full jitter.
// No state is carried over: calls in flight fail at once, deliveries are only acknowledged on their own channel, and
// consumers subscribe again.
//
//	amqp.go, target.go         configuration and dialing
//	supervisor.go              the current generation
//	generation.go              its connections, channels and goroutines
//	publisher.go, confirm.go   publishing
//	cork.go                    writing several messages at once
//	declarer.go                declaring and inspecting queues
//	liveness.go                detecting a broker that is slow or doesn't respond
//	upkeep.go                  detecting and repairing deleted exchanges and bindings
//	sieve.go, budget.go        keeping large bodies out of memory
//
// A context can't interrupt a write to a socket, so callers never write: messages wait in the bounded queue of a
// publisher and can be withdrawn until its goroutine picks them up. This is how an error can report whether a request
// was sent. Only replies may be written by the goroutine of their handler.
//
// # Calls
//
// A request is published as mandatory to its service's queue, which exists only while an instance consumes from it.
// Without an instance the broker returns the request at once. The reply arrives by direct reply-to on the channel that
// published the request.
//
//	envelope.go                      requests and replies as properties and headers, in two versions
//	call.go, pending.go, renewal.go  the caller's side, including calls that will never be answered
//	serve.go, request.go, drain.go   the instance's side: slots, draining
//	ack.go                           acknowledgements, several at once
//	control.go, stats.go             cancellation, ping, info and stats over the exchange af.ctl
//	trust.go, permit.go              which messages are dropped, and what a user may do
//	absent.go                        which instances have no connection
//
// # Hints and raw messages
//
// Each task queue has two durable queues, af.hint.* and af.raw.*. A message counts as accepted once the broker confirms
// it, and as not accepted if the broker returns or rejects it (transport.go, listener.go, raw.go). Hints are transient,
// raw messages persistent.
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

// Config configures the address and credentials of the broker.
type Config struct {
	// URLs are amqp:// or amqps:// URLs of the nodes of one cluster, with the virtual host as path. They are tried in
	// turn. If URLs is empty, the fields below are used.
	URLs []string

	Host     string // default 127.0.0.1
	Port     int    // default 5672, or 5671 with TLS
	VHost    string // default "/"
	Username string // default guest, with the password guest
	Password string

	// TLS, if set, configures amqps:// URLs and makes a connection by the fields above use TLS.
	TLS *tls.Config
	// ConnectTimeout bounds the opening of one connection. 0 means the URL's connection_timeout, or 10 s.
	ConnectTimeout time.Duration
	// Heartbeat is the interval of heartbeats in both directions. A connection is closed after three missed ones. 0 means
	// the URL's heartbeat, or 10 s.
	Heartbeat time.Duration

	// Database is the name of the database that holds the tasks. It becomes part of the names of hint queues, so that
	// programs with different databases can share a virtual host. Empty omits that part.
	Database string

	// Instance identifies this process to others.
	Instance backend.Instance
	// Logger receives events for operators; nil discards them.
	Logger *slog.Logger
	// Quorum makes the queues of hints and raw messages quorum queues, which are replicated and slower. All programs that
	// share them must use the same setting.
	Quorum bool
	// Degraded lets Dial succeed while no broker is reachable. A broker that rejects the connection is still an error.
	Degraded bool
	// Observer is set by programs that only read and administer. They declare no exchanges, and a queue for control
	// messages only before their first call, so they need no permission to configure anything until then.
	Observer bool

	rebindEvery  time.Duration // 0 is defaultRebindEvery
	lateAfter    time.Duration // 0 is defaultLateAfter
	hintPatience time.Duration // 0 is defaultHintPatience
	ackAfter     time.Duration // 0 is defaultAckAfter

	now func() time.Time // for the times of dead letters; nil is time.Now
}

// A Conn is a connection to a broker that is reopened whenever it ends. It is safe for concurrent use.
type Conn struct {
	config  Config
	targets []target
	id      string // unique; part of the names of its control queues
	log     *slog.Logger

	ctx    context.Context // cancelled by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // all goroutines except those of generations and handlers

	mu          sync.Mutex
	closed      bool
	current     *generation    // nil while disconnected
	downErr     *backend.Error // why current is nil
	changed     chan struct{}  // closed at the next change of the state that State reports
	serving     map[*serving]struct{}
	consumeErrs map[any]error // why servings and listeners can't consume
	deaf        int           // number of listeners that don't consume

	undeclarable map[string]bool // exchanges that the user may not declare; owned by the supervisor's goroutine

	budget    *budget // memory for received requests
	rejected  [rejections]atomic.Int64
	calls     calls
	transport transport
}

// Dial opens a Conn. It returns nil once the broker is usable. With Config.Degraded it also returns nil if the broker
// is unreachable; the Conn then becomes usable as soon as the broker is. Errors name the address, the virtual host and
// the cause, never a secret. ctx bounds only the opening. The caller must close the Conn.
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
		changed: make(chan struct{}), serving: map[*serving]struct{}{}, consumeErrs: map[any]error{},
		undeclarable: map[string]bool{}, budget: &budget{limit: maxRequests, consumers: map[string]*share{}},
		downErr: backend.NewError(backend.ErrUnavailable, "RabbitMQ is not connected yet").With(backend.OutcomeNotSent),
	}
	c.calls = calls{conn: c, newID: newID, pending: map[string]*pending{}, confirming: map[route]bool{}}
	c.transport = transport{conn: c, depths: map[string]depth{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	first := make(chan error, 1)
	c.wg.Go(func() { c.supervise(first) })
	c.wg.Go(c.calls.watchPending)
	select {
	case err = <-first:
	case <-ctx.Done():
		err = backend.Errorf(backend.CodeOf(ctx.Err()), "connecting to RabbitMQ at %s: %w", targets, context.Cause(ctx))
	}
	if err == nil && !config.Degraded {
		_, err = c.State() // an error if the broker accepts no messages
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

// Err returns why the Conn is not fully usable: it is disconnected, or a service or listener can't consume. Otherwise
// it returns nil.
func (c *Conn) Err() error {
	if _, err := c.usable(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, err := range c.consumeErrs {
		return err
	}
	return nil
}

// State returns Err and a channel that is closed when Err may have changed. The Conn itself logs its state only at
// level Debug, since its owner knows better what a failure means.
func (c *Conn) State() (changed <-chan struct{}, err error) {
	_, changed = c.transport.State()
	return changed, c.Err()
}

// Close closes the Conn. Calls in flight fail with ErrUnavailable and an unknown outcome. Servings and listeners are
// closed; replies that are ready are still sent. Contexts of running handlers are cancelled, and Close doesn't wait for
// the handlers. A nil error means that all goroutines of the Conn have ended. Close may be called more than once.
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
	select { // give even a context that has already ended a short grace
	case <-ended:
		return nil
	case <-time.After(closeGrace):
		return backend.Errorf(backend.CodeOf(ctx.Err()), "closing connections to RabbitMQ at %s: %w", c.targets[0],
			context.Cause(ctx))
	}
}

// closeGrace bounds how long Close waits for steps that should take no time.
const closeGrace = 200 * time.Millisecond

// errShutdown is the cause with which contexts end and calls fail when a Conn is closed.
var errShutdown = backend.NewError(backend.ErrUnavailable, "this app is shutting down")

// spawn runs f on a goroutine of the Conn. It returns false if the Conn is closed.
func (c *Conn) spawn(f func()) bool {
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

// contextError returns the error of an operation whose context has ended.
func contextError(ctx context.Context, op string, o backend.Outcome) *backend.Error {
	return backend.Errorf(backend.CodeOf(ctx.Err()), "%s: %w", op, context.Cause(ctx)).With(o)
}

// asError returns a copy of err as an *Error with outcome o. Other errors get the code and the prefix op.
func asError(err error, code backend.Code, op string, o backend.Outcome) *backend.Error {
	if e, ok := errors.AsType[*backend.Error](err); ok {
		e := *e
		return e.With(o)
	}
	return backend.Errorf(code, "%s: %w", op, err).With(o)
}
