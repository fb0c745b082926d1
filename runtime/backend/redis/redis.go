// Package redis is the Coordinator port over Redis: who is there, and news. It is one of the three adapters that
// runtime/backend/servers joins.
//
// Everything that Redis holds may be forgotten at any time. Presence is announced again every few seconds, and whoever
// depends on news looks for itself, too; so losing Redis, or all that is in it, costs latency and nothing else.
//
// # Presence
//
// Of each kind of thing there is a hash with the facts and a sorted set with the times at which they are forgotten, by the
// server's clock. Scripts keep the two together ([announce], [present]). Both keys expire with the last of what is in them,
// so nothing is left of a program that is gone.
//
// # News
//
// Each topic is a channel. A Coordinator has one connection for all its subscriptions, however many there are, and spreads
// what comes among them itself. After a gap, which is each time that the connection was made anew, subscribers get nil.
//
// # While the server is away
//
// A Coordinator looks for its server every second (watch.go). While that is down, or takes no writes, everything is unavailable
// at once, and subscriptions wait for it. The driver has one log for the whole program, to which it writes each failed attempt: this
// package turns it into debug messages of slog.Default, when it is linked. redis.SetLogger, called later, has its way.
//
// # Permissions
//
// A user needs no more than this, where af: is the prefix; what is missing is an error when the server is reached first:
//
//	ACL SETUSER app on >… resetkeys ~af:* resetchannels &af:* -@all +@connection +evalsha +eval +publish +subscribe
//	    +unsubscribe +time +hset +hdel +hgetall +zadd +zrem +zrangebyscore +pexpire
package redis

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
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

// A Config says how to reach a server. Zero fields leave it to the driver.
type Config struct {
	URI         string // redis:// or rediss://; instead of the four below
	Addr        string // host:port
	DB          int
	Username    string
	Password    string
	TLS         *tls.Config // nil: none, unless the URI says so
	PoolSize    int
	DialTimeout time.Duration
	Prefix      string // of all keys and channels; "" is "af:"
	Logger      *slog.Logger
}

// presentFor is how long an Announce counts.
const presentFor = 15 * time.Second

// A Coordinator is the port, connected. Whoever made it closes it.
type Coordinator struct {
	client *redis.Client
	prefix string
	log    *slog.Logger
	topics events.Topics
	conn   *connstate.State
	doubts signal.Signal // something failed as if the server were unavailable

	mu         sync.Mutex
	pubsub     *redis.PubSub
	subscribed map[string]int // subscriptions by topic
	allowed    bool           // we may do what we do

	end     context.CancelFunc
	working sync.WaitGroup
}

// Dial connects to a server, and fails where that can't be reached or refuses; the error names the address and never a
// secret. ctx bounds it.
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

// Open is Dial for a server that may be away: it connects once that is there.
func Open(c Config) (*Coordinator, error) {
	o := &redis.Options{Addr: c.Addr, DB: c.DB, Username: c.Username, Password: c.Password}
	if c.URI != "" {
		var err error
		if o, err = redis.ParseURL(c.URI); err != nil {
			return nil, backend.NewError(backend.ErrInvalidArgument, "redis: the uri is none that the driver understands")
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
	o.MaxRetries, o.DialerRetries = -1, 1 // whoever calls knows whether to repeat
	co := &Coordinator{
		client: redis.NewClient(o), prefix: c.Prefix, log: c.Logger, subscribed: map[string]int{},
		conn: connstate.New(), doubts: signal.New(),
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
	co.working.Go(func() { co.hear(ctx) })
	co.working.Go(func() { co.watch(ctx) })
	return co, nil
}

// Close ends all subscriptions and connections.
func (c *Coordinator) Close() error {
	c.end()
	err := errors.Join(c.pubsub.Close(), c.client.Close())
	c.working.Wait()
	return err
}

// announce puts name among those of its kind, and forgets those whose time is up.
//
// KEYS: the hash of the facts, the set of the times. ARGV: name, facts, milliseconds that it counts.
var announce = redis.NewScript(`
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

// present returns name and facts, in turn, of those whose time is not up.
//
// KEYS: the hash of the facts, the set of the times.
var present = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
	redis.call('HDEL', KEYS[1], name)
	redis.call('ZREM', KEYS[2], name)
end
return redis.call('HGETALL', KEYS[1])`)

// keys are those of a kind, in one slot of a cluster.
func (c *Coordinator) keys(kind string) []string {
	return []string{c.prefix + "facts:{" + kind + "}", c.prefix + "until:{" + kind + "}"}
}

// Announce implements backend.Coordinator.
func (c *Coordinator) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	return c.do(ctx, "announcing "+kind, func(ctx context.Context) error {
		return announce.Run(ctx, c.client, c.keys(kind), name, []byte(facts), presentFor.Milliseconds()).Err()
	})
}

// Present implements backend.Coordinator.
func (c *Coordinator) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	var flat []string
	err := c.do(ctx, "looking for "+kind, func(ctx context.Context) (err error) {
		flat, err = present.Run(ctx, c.client, c.keys(kind)).StringSlice()
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
func (c *Coordinator) Publish(ctx context.Context, topic string, news json.RawMessage) error {
	return c.do(ctx, "spreading news of "+topic, func(ctx context.Context) error {
		return c.client.Publish(ctx, c.channel(topic), []byte(news)).Err()
	})
}

// failed turns an error of the driver into one with a code. Its text has the address and never a secret.
func (c *Coordinator) failed(what string, err error) error {
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
	return backend.Errorf(code, "redis at %s: %s%s: %w", c.client.Options().Addr, what, advice(err), err)
}

// remedies are the states in which a server answers and takes no writes, by the first word of what it answers, and what ends each.
var remedies = []struct{ word, advice string }{
	{"LOADING", "it is not used until it has loaded its data"},
	{"OOM", "its memory is full; raise maxmemory, or set a maxmemory-policy that evicts keys"},
	{"READONLY", "it is a replica; connect to the master"},
	{"MASTERDOWN", "it is a replica that has lost its master; connect to the master"},
	{"MISCONF", "it can't save its data; see its log, and its disk"},
	{"NOREPLICAS", "it has fewer replicas than its min-replicas-to-write"},
	{"BUSY", "a script keeps it busy; SCRIPT KILL ends that"},
	{"CLUSTERDOWN", "its cluster is down"},
}

// advice returns what an operator can do about an error, to follow what was attempted, or "".
func advice(err error) string {
	if refused := redis.Error(nil); errors.As(err, &refused) {
		for _, r := range remedies {
			if redis.HasErrorPrefix(err, r.word) || strings.Contains(err.Error(), ": -"+r.word+" ") { // Redis 6, of a script
				return ": " + r.advice
			}
		}
	}
	return ""
}
