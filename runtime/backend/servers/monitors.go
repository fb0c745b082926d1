package servers

import (
	"context"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/event"
)

// MongoMonitor adds a monitor of the commands that Apps send to MongoDB, such as that of OpenTelemetry's otelmongo. It
// gets the context of the operation that sends a command, with the values of the context given to the App: in a
// handler that is the handler's, with the current span. Commands that are sent in the background, such as claims and
// heartbeats, and those that are sent for several callers at once, have a context without values.
//
// Monitors are called in the order in which they were added, on the goroutines of operations, so they must not block. A
// command may contain payloads. Nil has no effect.
func MongoMonitor(m *event.CommandMonitor) Option {
	return func(o *options) {
		if m != nil {
			o.commands = append(o.commands, m)
		}
	}
}

// MongoPoolMonitor adds a monitor of the connections to MongoDB. As for [MongoMonitor], there may be several.
func MongoPoolMonitor(m *event.PoolMonitor) Option {
	return func(o *options) {
		if m != nil && m.Event != nil {
			o.pools = append(o.pools, m.Event)
		}
	}
}

// InstrumentRedis adds a function that gets the driver's client for Redis before it connects, to instrument it:
//
//	servers.InstrumentRedis(func(c *redis.Client) error { return redisotel.InstrumentTracing(c) })
//
// or to add a hook, by c.AddHook. Each App has a client. Opening an App returns the error of f. Hooks get the contexts
// of operations, as described at [MongoMonitor]. They see no subscriptions, except that their connections are dialed.
// They must not block or replace commands. Nil has no effect.
func InstrumentRedis(f func(c *redis.Client) error) Option {
	return func(o *options) {
		if f != nil {
			o.redis = append(o.redis, f)
		}
	}
}

// commandMonitor returns a monitor that calls all of those that were added, or nil.
func (o *options) commandMonitor() *event.CommandMonitor {
	switch len(o.commands) {
	case 0:
		return nil
	case 1:
		return o.commands[0]
	}
	all := o.commands
	return &event.CommandMonitor{
		Started: func(ctx context.Context, e *event.CommandStartedEvent) {
			for _, m := range all {
				if m.Started != nil {
					m.Started(ctx, e)
				}
			}
		},
		Succeeded: func(ctx context.Context, e *event.CommandSucceededEvent) {
			for _, m := range all {
				if m.Succeeded != nil {
					m.Succeeded(ctx, e)
				}
			}
		},
		Failed: func(ctx context.Context, e *event.CommandFailedEvent) {
			for _, m := range all {
				if m.Failed != nil {
					m.Failed(ctx, e)
				}
			}
		},
	}
}

// poolMonitor is commandMonitor for the connections.
func (o *options) poolMonitor() *event.PoolMonitor {
	if len(o.pools) == 0 {
		return nil
	}
	all := o.pools
	return &event.PoolMonitor{Event: func(e *event.PoolEvent) {
		for _, f := range all {
			f(e)
		}
	}}
}

// instrumentRedis calls all functions of InstrumentRedis, until one fails.
func (o *options) instrumentRedis(c *redis.Client) error {
	for _, f := range o.redis {
		if err := f(c); err != nil {
			return err
		}
	}
	return nil
}
