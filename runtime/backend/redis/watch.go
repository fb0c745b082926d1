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
	pingEvery   = time.Second
	pingTimeout = 2 * time.Second
	checkKind   = "_check"  // a kind on which permissions are checked
	absentKind  = "_absent" // never announced
)

func init() { redis.SetLogger(driverLog{}) }

// driverLog receives the driver's messages, one for each failed attempt.
type driverLog struct{}

// Printf implements the driver's logging interface.
func (driverLog) Printf(ctx context.Context, format string, args ...any) {
	if slog.Default().Enabled(ctx, slog.LevelDebug) {
		slog.DebugContext(ctx, fmt.Sprintf(format, args...))
	}
}

// State returns the error with which operations fail now, or nil, and a channel that is closed when that may have
// changed. The server is probed in the background.
func (c *Coordinator) State() (changed <-chan struct{}, err error) { return c.conn.Get() }

// Ping returns nil if the server accepts writes and the user has the required permissions. A server that only answers
// is not enough, so Ping sends a write that changes nothing: it is neither replicated nor persisted, but rejected like
// any other write.
func (c *Coordinator) Ping(ctx context.Context) error {
	epoch := c.conn.Epoch()
	err := c.wrapError("connecting", c.client.ZAddXX(ctx, c.keys(absentKind)[1], redis.Z{Member: "-"}).Err())
	if err == nil {
		err = c.check(ctx)
	}
	switch {
	case err == nil:
		c.conn.SetUp(epoch)
	case c.conn.Epoch() == epoch:
		c.conn.SetDown(err)
	}
	return err
}

// check tries everything that needs a permission, until it has succeeded once.
func (c *Coordinator) check(ctx context.Context) error {
	c.mu.Lock()
	allowed := c.allowed
	c.mu.Unlock()
	if allowed {
		return nil
	}
	err := announceScript.Run(ctx, c.client, c.keys(checkKind), "-", "{}", time.Second.Milliseconds()).Err()
	if err == nil {
		err = presentScript.Run(ctx, c.client, c.keys(checkKind)).Err()
	}
	if err == nil {
		err = c.client.Publish(ctx, c.channel(checkKind), "").Err()
	}
	if err == nil {
		err = c.checkSubscribing(ctx)
	}
	if err != nil {
		return c.wrapError("checking permissions", err)
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

// probeNow makes probeLoop probe at once.
func (c *Coordinator) probeNow() {
	c.probe.Set()
}

// probeLoop probes the server every second, and after each failed operation.
func (c *Coordinator) probeLoop(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.probe.C():
		case <-ctx.Done():
			return
		}
		pingCtx, cancel := context.WithTimeout(ctx, pingTimeout)
		if err := c.Ping(pingCtx); err != nil && ctx.Err() == nil {
			c.log.Debug("Redis is unavailable", "error", err)
		}
		cancel()
	}
}

// do runs an operation. It fails at once while the server is down.
func (c *Coordinator) do(ctx context.Context, name string, op func(context.Context) error) error {
	ctx, done, err := c.conn.Guard(ctx)
	defer done()
	if err != nil {
		return err
	}
	err = c.wrapError(name, op(ctx))
	if err != nil && backend.CodeOf(err) == backend.ErrUnavailable {
		c.probeNow()
	}
	return err
}
