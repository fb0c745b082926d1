// Package servers is the backend for many machines. RabbitMQ carries calls, hints and raw messages; MongoDB stores
// tasks and documents; Redis holds presence and events. The package only combines the three adapters, each of which
// handles one server.
//
//	cfg, err := config.Load("config.yaml")
//	app, err := af.Open(ctx, servers.From(cfg))
//
// # Opening
//
// Opening connects to all three servers in parallel. It fails if a server is unreachable, rejects the credentials, or
// denies a permission. The error names the configuration section, the address and the cause of each, and never a
// secret. With [StartDegraded], unreachable servers are retried in the background instead.
//
// # Degraded modes
//
// No outage requires a restart: each adapter probes its server and reconnects. While a server is down, operations that
// need it fail at once as unavailable, and all others continue. The App is then in one or more of the modes
// without-rabbitmq, without-mongodb and without-redis (health.go). App.Health reports them, and the log has one line
// when a mode is entered and one when it ends.
//
// # Native access
//
// [Mongo] returns the driver's database, and [InTx] runs a transaction on it. [MongoMonitor] and [InstrumentRedis] give
// the drivers monitors, whose spans are below those of the App's operations.
package servers

import (
	"context"
	"errors"
	"fmt"
	"sync"

	driver "github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/amqp"
	"github.com/afgen/afgen/runtime/backend/internal/appsettings"
	"github.com/afgen/afgen/runtime/backend/mongo"
	"github.com/afgen/afgen/runtime/backend/redis"
	"github.com/afgen/afgen/runtime/config"
)

// A Backend opens Apps on the three servers. It is safe for concurrent use and can be opened more than once.
type Backend struct {
	config  config.Config
	options options
}

type options struct {
	quorum, degraded bool

	commands []*event.CommandMonitor // of MongoDB
	pools    []func(*event.PoolEvent)
	redis    []func(*driver.Client) error
}

// An Option configures a [Backend].
type Option func(*options)

// Quorum makes RabbitMQ's queues of hints and raw messages quorum queues, which are replicated and slower. All programs
// on a virtual host must use the same setting, since the kind of a queue can't change. The configuration key is
// rabbitmq.quorum.
func Quorum() Option { return func(o *options) { o.quorum = true } }

// StartDegraded lets an App open and start while any of the three servers is unreachable. The App starts in the
// corresponding degraded modes and recovers when the servers are back. A server that rejects the connection is still an
// error. The configuration key is servers.start_degraded.
func StartDegraded() Option { return func(o *options) { o.degraded = true } }

// From returns the backend described by the sections mongodb, redis, rabbitmq and servers of cfg. The sections
// tasks, workers and logger apply to the Apps that are opened on it. Errors are reported by Open.
func From(cfg config.Config, opts ...Option) *Backend {
	b := &Backend{config: cfg, options: options{degraded: cfg.Servers.StartDegraded}}
	if cfg.RabbitMQ != nil {
		b.options.quorum = cfg.RabbitMQ.Quorum
	}
	for _, o := range opts {
		if o != nil {
			o(&b.options)
		}
	}
	return b
}

// Settings implements backend.Configured.
func (b *Backend) Settings() backend.Settings { return appsettings.From(b.config) }

// Open implements backend.Backend.
func (b *Backend) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	if kind, err := b.config.Backend(); err != nil || kind != config.BackendServers {
		return nil, backend.NewError(backend.ErrInvalidArgument,
			"the configuration must have all of the sections mongodb, redis and rabbitmq")
	}
	s := &session{}
	errs := make([]error, 3)
	var wg sync.WaitGroup
	for i, connect := range []func(context.Context, backend.Env) error{
		func(ctx context.Context, env backend.Env) error { return b.openMongo(ctx, env, s) },
		func(ctx context.Context, env backend.Env) error { return b.openRedis(ctx, env, s) },
		func(ctx context.Context, env backend.Env) error { return b.openRabbit(ctx, env, s) },
	} {
		wg.Go(func() {
			if err := connect(ctx, env); err != nil {
				errs[i] = fmt.Errorf("%s: %w", []string{"mongodb", "redis", "rabbitmq"}[i], err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, s.close(context.WithoutCancel(ctx)))
	}
	s.monitor = newMonitor(env.Logger, [...]probe{s.rabbit.State, s.mongo.State, s.redis.State})
	return &backend.Ports{
		Name:             "servers",
		Location:         location(b.config),
		Calls:            s.rabbit.Calls(),
		Store:            s.mongo.Store(),
		Docs:             s.mongo.Docs(),
		Transport:        s.rabbit.Transport(),
		Coordinator:      s.redis,
		Health:           s.monitor.health,
		AllowUnavailable: b.options.degraded,
		Native:           s,
		Close:            s.close,
	}, nil
}

// A session holds the three connections of one App.
type session struct {
	mongo   *mongo.Client
	redis   *redis.Coordinator
	rabbit  *amqp.Conn
	monitor *monitor
}

// close closes the connections that are open.
func (s *session) close(ctx context.Context) error {
	var errs []error
	if s.monitor != nil {
		s.monitor.close() // first, so that closing isn't logged as an outage
	}
	if s.rabbit != nil {
		errs = append(errs, s.rabbit.Close(ctx))
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Close())
	}
	if s.mongo != nil {
		errs = append(errs, s.mongo.Close(ctx))
	}
	return errors.Join(errs...)
}

// tolerable reports whether an App may open despite an error of a server.
func (b *Backend) tolerable(ctx context.Context, err error) bool {
	return b.options.degraded && ctx.Err() == nil &&
		(errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrDeadlineExceeded))
}
