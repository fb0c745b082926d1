// Package servers is the backend of many machines: RabbitMQ carries calls, hints and raw messages, MongoDB keeps tasks and
// documents, Redis knows who is there and spreads news. It joins the three adapters, each of which knows one server, and
// does nothing else.
//
//	cfg, err := config.Load("config.yaml")
//	app, err := af.Open(ctx, servers.From(cfg))
//
// # Starting
//
// Opening connects to all three at once. Each that can't be reached, doesn't let this program in, or lacks a permission is
// an error that names the section of the configuration, the address and the cause, and never a secret. With [StartDegraded]
// a server that merely can't be reached is waited for in the background instead.
//
// # While one is away
//
// Nothing needs a restart: each adapter looks for its server, and connects again by itself. What is lost meanwhile is
// unavailable at once, what can be done without the server goes on, and the App is in a mode with a name, one or more of
// without-rabbitmq, without-mongodb and without-redis (health.go). App.Health has them; the log says it once when one is
// entered and once when it is left.
//
// # Native access
//
// [Mongo] hands out the driver's own database.
package servers

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/amqp"
	"github.com/afgen/afgen/runtime/backend/mongo"
	"github.com/afgen/afgen/runtime/backend/redis"
	"github.com/afgen/afgen/runtime/config"
)

// A Backend is three servers to be connected to. It is safe for concurrent use, and may be opened several times.
type Backend struct {
	config  config.Config
	options options
}

type options struct{ quorum, degraded bool }

// An Option changes how the servers are used.
type Option func(*options)

// Quorum makes RabbitMQ's queues of hints and raw messages quorum queues: replicated, and slower. All programs on one
// virtual host must agree, for a queue can't change its kind. rabbitmq.quorum in the configuration does the same.
func Quorum() Option { return func(o *options) { o.quorum = true } }

// StartDegraded lets an App open and start while servers, any of the three, can't be reached: it begins in the modes of
// those, and goes on when they come. One that can be reached and refuses is an error still. servers.start_degraded in the
// configuration does the same.
func StartDegraded() Option { return func(o *options) { o.degraded = true } }

// From returns the backend that the sections mongodb, redis and rabbitmq of cfg describe. What is wrong with them surfaces
// when it is opened.
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

// Open implements backend.Backend.
func (b *Backend) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	if kind, err := b.config.Backend(); err != nil || kind != config.BackendServers {
		return nil, backend.NewError(backend.ErrInvalidArgument, "the configuration needs all three of mongodb, redis and rabbitmq")
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
	s.monitor = watch(env.Logger, [...]look{s.rabbit.State, s.mongo.State, s.redis.State})
	return &backend.Ports{
		Name:             "servers",
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

// A session is the three connections of one App.
type session struct {
	mongo   *mongo.Client
	redis   *redis.Coordinator
	rabbit  *amqp.Conn
	monitor *monitor
}

// close ends all connections that there are.
func (s *session) close(ctx context.Context) error {
	var errs []error
	if s.monitor != nil {
		s.monitor.close() // what closes is not away
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

// tolerable says whether an App may open though a server has answered so.
func (b *Backend) tolerable(ctx context.Context, err error) bool {
	return b.options.degraded && ctx.Err() == nil && (errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrDeadlineExceeded))
}
