package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	pingEvery    = time.Second
	pingPatience = 2 * time.Second // for the answer
	checkKind    = "_check"        // what permissions are tried on; it is forgotten as any presence is
	absentKind   = "_absent"       // never announced
)

func init() { redis.SetLogger(driverLog{}) }

// driverLog gets what the driver would write to stderr, once for each attempt that fails.
type driverLog struct{}

// Printf implements the driver's interface for loggers.
func (driverLog) Printf(ctx context.Context, format string, args ...any) {
	if slog.Default().Enabled(ctx, slog.LevelDebug) {
		slog.DebugContext(ctx, fmt.Sprintf(format, args...))
	}
}

// State says why operations fail at once, nil: they don't, and returns a channel that is closed when that may have changed.
// A server that is away is looked for in the background.
func (c *Coordinator) State() (changed <-chan struct{}, err error) { return c.conn.Get() }

// Ping returns nil if the server takes writes now and lets us do what we need to. A server that only answers is of no use. So
// this is a write, which the server refuses as it would any other, but which changes nothing: it replicates and persists nothing.
func (c *Coordinator) Ping(ctx context.Context) error {
	losses := c.conn.Epoch()
	err := c.failed("connecting", c.client.ZAddXX(ctx, c.keys(absentKind)[1], redis.Z{Member: "-"}).Err())
	if err == nil {
		err = c.check(ctx)
	}
	switch {
	case err == nil:
		c.conn.SetUp(losses)
	case c.conn.Epoch() == losses:
		c.conn.SetDown(err)
	}
	return err
}

// check tries once all that needs a permission.
func (c *Coordinator) check(ctx context.Context) error {
	c.mu.Lock()
	allowed := c.allowed
	c.mu.Unlock()
	if allowed {
		return nil
	}
	err := announce.Run(ctx, c.client, c.keys(checkKind), "-", "{}", time.Second.Milliseconds()).Err()
	if err == nil {
		err = present.Run(ctx, c.client, c.keys(checkKind)).Err()
	}
	if err == nil {
		err = c.client.Publish(ctx, c.channel(checkKind), "").Err()
	}
	if err == nil {
		err = c.checkSubscribing(ctx)
	}
	if err != nil {
		return c.failed("trying what has to be allowed", err)
	}
	c.mu.Lock()
	c.allowed = true
	c.mu.Unlock()
	return nil
}

func (c *Coordinator) checkSubscribing(ctx context.Context) error {
	sub := c.client.Subscribe(ctx, c.channel(checkKind))
	_, err := sub.Receive(ctx)
	if err == nil {
		err = sub.Unsubscribe(ctx, c.channel(checkKind))
	}
	if err == nil {
		_, err = sub.Receive(ctx)
	}
	return errors.Join(err, sub.Close())
}

// doubt lets watch look at once.
func (c *Coordinator) doubt() {
	c.doubts.Set()
}

// watch looks for the server every second, and where something failed.
func (c *Coordinator) watch(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.doubts.C():
		case <-ctx.Done():
			return
		}
		pingCtx, cancel := context.WithTimeout(ctx, pingPatience)
		if err := c.Ping(pingCtx); err != nil && ctx.Err() == nil {
			c.log.Debug("Redis doesn't answer", "error", err)
		}
		cancel()
	}
}

// do runs an operation, at once without where the server is away.
func (c *Coordinator) do(ctx context.Context, what string, op func(context.Context) error) error {
	ctx, done, err := c.conn.Guard(ctx)
	defer done()
	if err != nil {
		return err
	}
	err = c.failed(what, op(ctx))
	if err != nil && backend.CodeOf(err) == backend.ErrUnavailable {
		c.doubt()
	}
	return err
}
