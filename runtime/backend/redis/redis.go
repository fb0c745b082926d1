// Package redis implements the port [backend.Coordinator] on Redis: presence of instances, and events. Package servers
// combines it with MongoDB and RabbitMQ.
//
// Redis holds only data that may be lost at any time. Presence is announced again every few seconds, and consumers of
// events also poll. So losing Redis or its data costs latency and nothing else.
//
// # Presence
//
// For each kind, a hash holds facts by name, and a sorted set holds expiry times by the server's clock. Lua scripts
// keep the two consistent. Both keys expire with their last member, so a program that has ended leaves nothing behind.
//
// # Events
//
// Each topic is a channel. A Coordinator has one connection for all subscriptions and distributes messages itself. Each
// time that connection is reopened, subscribers get nil, since they may have missed messages.
//
// # Outages
//
// A Coordinator probes its server every second (watch.go). While the server is down or rejects writes, operations fail
// at once as unavailable, and subscriptions wait. The driver has one logger for the whole program, to which it writes
// each failed attempt. This package redirects it to debug messages of slog.Default when it is linked; a later call of
// redis.SetLogger overrides that.
//
// # Permissions
//
// A user needs the following permissions, where af: is the prefix. Missing permissions are reported when the server is
// first reached:
//
//	ACL SETUSER app on >… resetkeys ~af:* resetchannels &af:* -@all +@connection +evalsha +eval +publish +subscribe
//	    +unsubscribe +time +hset +hdel +hgetall +zadd +zrem +zrangebyscore +pexpire
package redis

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/connstate"
	"github.com/afgen/afgen/runtime/backend/internal/events"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A Config configures the connection to a server. For zero fields, the driver's defaults apply unless noted.
type Config struct {
	URI         string // redis:// or rediss://; replaces Addr, DB, Username and Password
	Addr        string // host:port
	DB          int
	Username    string
	Password    string
	TLS         *tls.Config // nil: no TLS, unless URI is rediss://
	PoolSize    int
	DialTimeout time.Duration
	Prefix      string       // of all keys and channels; default "af:"
	Logger      *slog.Logger // nil discards messages
	// Instrument is called with the driver's client before that connects, to add hooks; an error of it is that of Open. A
	// hook gets the context of the operation that sends a command, with the values of the caller's context, except for
	// what is sent in the background. It must not block or replace commands. Subscriptions pass only hooks for dialing.
	Instrument func(*redis.Client) error
}

// presenceTTL is how long an Announce is valid.
const presenceTTL = 15 * time.Second

// A Coordinator implements backend.Coordinator. The caller must close it. It is safe for concurrent use.
type Coordinator struct {
	client *redis.Client
	prefix string
	log    *slog.Logger
	topics events.Topics
	conn   *connstate.State
	probe  signal.Signal // makes probeLoop probe now

	mu         sync.Mutex
	pubsub     *redis.PubSub
	subscribed map[string]int // number of subscriptions by topic
	allowed    bool           // permissions were checked

	end context.CancelFunc
	wg  sync.WaitGroup
}

// Dial connects to a server. It fails if the server is unreachable or rejects the connection. The error contains the
// address, and never a secret. ctx bounds the connecting.
func Dial(ctx context.Context, c Config) (*Coordinator, error) {
	co, err := Open(c)
	if err != nil {
		return nil, err
	}
	if err := co.Ping(ctx); err != nil {
		return nil, errors.Join(err, co.Close())
	}
	return co, nil
}

// Open is like Dial, but doesn't wait for the server. The Coordinator is usable once the server is. It fails only if c
// is invalid or c.Instrument fails.
func Open(c Config) (*Coordinator, error) {
	o := &redis.Options{Addr: c.Addr, DB: c.DB, Username: c.Username, Password: c.Password}
	if c.URI != "" {
		var err error
		if o, err = redis.ParseURL(c.URI); err != nil {
			return nil, backend.NewError(backend.ErrInvalidArgument, "redis: malformed uri")
		}
	}
	if c.TLS != nil {
		o.TLSConfig = c.TLS
	}
	if c.PoolSize > 0 {
		o.PoolSize = c.PoolSize
	}
	if c.DialTimeout > 0 {
		o.DialTimeout = c.DialTimeout
	}
	o.ContextTimeoutEnabled = true
	o.MaxRetries, o.DialerRetries = -1, 1 // callers decide whether to retry
	client := redis.NewClient(o)
	if c.Instrument != nil {
		if err := c.Instrument(client); err != nil {
			return nil, errors.Join(fmt.Errorf("instrumenting the client: %w", backend.AsError(err)), client.Close())
		}
	}
	co := &Coordinator{
		client: client, prefix: c.Prefix, log: c.Logger, subscribed: map[string]int{},
		conn: connstate.New(), probe: signal.New(),
	}
	if co.prefix == "" {
		co.prefix = "af:"
	}
	if co.log == nil {
		co.log = slog.New(slog.DiscardHandler)
	}
	ctx, end := context.WithCancel(context.Background())
	co.end = end
	co.pubsub = co.client.Subscribe(ctx)
	co.wg.Go(func() { co.receive(ctx) })
	co.wg.Go(func() { co.probeLoop(ctx) })
	return co, nil
}

// Close ends all subscriptions and closes the connections.
func (c *Coordinator) Close() error {
	c.end()
	err := errors.Join(c.pubsub.Close(), c.client.Close())
	c.wg.Wait()
	return err
}

// announceScript stores a member of a kind and removes expired members.
//
// KEYS: hash of facts, set of expiry times. ARGV: name, facts, TTL in milliseconds.
var announceScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
	redis.call('HDEL', KEYS[1], name)
	redis.call('ZREM', KEYS[2], name)
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1`)

// presentScript returns names and facts, alternating, of members that haven't expired.
//
// KEYS: hash of facts, set of expiry times.
var presentScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
	redis.call('HDEL', KEYS[1], name)
	redis.call('ZREM', KEYS[2], name)
end
return redis.call('HGETALL', KEYS[1])`)

// keys returns the keys of a kind, which share a cluster slot.
func (c *Coordinator) keys(kind string) []string {
	return []string{c.prefix + "facts:{" + kind + "}", c.prefix + "until:{" + kind + "}"}
}

// Announce implements backend.Coordinator.
func (c *Coordinator) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	return c.do(ctx, "announcing "+kind, func(ctx context.Context) error {
		return announceScript.Run(ctx, c.client, c.keys(kind), name, []byte(facts), presenceTTL.Milliseconds()).Err()
	})
}

// Present implements backend.Coordinator.
func (c *Coordinator) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	var flat []string
	err := c.do(ctx, "listing "+kind, func(ctx context.Context) (err error) {
		flat, err = presentScript.Run(ctx, c.client, c.keys(kind)).StringSlice()
		return err
	})
	if err != nil {
		return nil, err
	}
	all := make(map[string]json.RawMessage, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		all[flat[i]] = json.RawMessage(flat[i+1])
	}
	return all, nil
}

// Publish implements backend.Coordinator.
func (c *Coordinator) Publish(ctx context.Context, topic string, event json.RawMessage) error {
	return c.do(ctx, "publishing to "+topic, func(ctx context.Context) error {
		return c.client.Publish(ctx, c.channel(topic), []byte(event)).Err()
	})
}

// wrapError gives an error of the driver a code and a message with the address.
func (c *Coordinator) wrapError(op string, err error) error {
	if err == nil {
		return nil
	}
	code := backend.CodeOf(err)
	if code == backend.ErrUnknown {
		code = backend.ErrUnavailable
	}
	if connstate.CertificateError(err) {
		code = backend.ErrUnauthenticated
	}
	if refused := redis.Error(nil); errors.As(err, &refused) {
		switch {
		case redis.HasErrorPrefix(err, "WRONGPASS"), redis.HasErrorPrefix(err, "NOAUTH"):
			code = backend.ErrUnauthenticated
		case redis.HasErrorPrefix(err, "NOPERM"), strings.Contains(err.Error(), "The user executing the script can't"),
			strings.Contains(err.Error(), "ACL failure in script"): // Redis 6; 7; 8
			code = backend.ErrPermissionDenied
		}
	}
	return backend.Errorf(code, "redis at %s: %s%s: %w", c.client.Options().Addr, op, advice(err), err)
}

// serverStates are the states in which a server answers but rejects writes, by the first word of its error, with what
// an operator can do.
var serverStates = []struct{ word, advice string }{
	{"LOADING", "it is loading its data"},
	{"OOM", "out of memory; raise maxmemory, or set a maxmemory-policy that evicts keys"},
	{"READONLY", "the server is a replica; connect to the master"},
	{"MASTERDOWN", "the server is a replica without a master; connect to the master"},
	{"MISCONF", "the server can't save its data; check its log and disk"},
	{"NOREPLICAS", "fewer replicas than min-replicas-to-write"},
	{"BUSY", "a script is running; SCRIPT KILL ends it"},
	{"CLUSTERDOWN", "the cluster is down"},
}

// advice returns ": " and what an operator can do about err, or "".
func advice(err error) string {
	if refused := redis.Error(nil); errors.As(err, &refused) {
		for _, r := range serverStates {
			if redis.HasErrorPrefix(err, r.word) || strings.Contains(err.Error(), ": -"+r.word+" ") { // in a script, on Redis 6
				return ": " + r.advice
			}
		}
	}
	return ""
}
