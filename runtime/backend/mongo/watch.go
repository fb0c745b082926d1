package mongo

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	pingEvery = time.Second
	// pingTimeout is after how long without an answer the server counts as down. It is long enough for a slow server, and
	// leaves half a lease.
	pingTimeout = 5 * time.Second
)

// State returns the error with which operations fail now, or nil, and a channel that is closed when that may have
// changed. The server is probed in the background.
func (c *Client) State() (changed <-chan struct{}, err error) { return c.conn.Get() }

// startProbing starts probeLoop once.
func (c *Client) startProbing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.probing && !c.closed {
		c.probing = true
		c.wg.Go(c.probeLoop)
	}
}

// probeLoop probes the server every second until the client is closed, and prepares it when it is back. The driver
// probes too, but only every ten seconds unless a caller waits for a server. While the server is down, a probe that
// hangs doesn't delay the next one: it may hang on a dead connection while the server is back.
func (c *Client) probeLoop() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	var probes sync.WaitGroup
	defer probes.Wait()
	slots := make(chan struct{}, pingTimeout/pingEvery)
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		if _, down := c.conn.Get(); down == nil {
			c.probe()
			continue
		}
		select {
		case slots <- struct{}{}:
			probes.Go(func() {
				c.probe()
				<-slots
			})
		default:
		}
	}
}

// probe probes the server once.
func (c *Client) probe() {
	_, down := c.conn.Get()
	epoch := c.conn.Epoch()
	ctx, cancel := context.WithTimeout(c.ctx, pingTimeout)
	defer cancel()
	err := c.Ping(ctx)
	if err == nil && down != nil { // while up, operations prepare it, which may take longer than pingTimeout
		err = c.Prepare(ctx)
	}
	switch {
	case c.ctx.Err() != nil:
	case err == nil:
		c.conn.SetUp(epoch)
	case down == nil && c.conn.Epoch() == epoch:
		c.conn.SetDown(err)
	}
}

// A driverView is the driver's latest knowledge of its servers. If it knows none, perhaps only one connection broke. If
// then no server accepts a connection, they are down.
type driverView struct {
	mu      sync.Mutex
	servers int
	known   bool            // the driver knows a server
	refused map[string]bool // addresses that refused a connection since then
}

// serverMonitor makes operations fail as soon as the driver knows that no server is reachable, instead of after the
// server selection timeout. The driver calls its functions while holding locks, so they don't call the driver.
func (c *Client) serverMonitor() *event.ServerMonitor {
	c.driverView.refused = map[string]bool{}
	return &event.ServerMonitor{
		TopologyDescriptionChanged: func(e *event.TopologyDescriptionChangedEvent) {
			c.driverView.mu.Lock()
			defer c.driverView.mu.Unlock()
			c.driverView.servers, c.driverView.known = len(e.NewDescription.Servers), false
			for _, s := range e.NewDescription.Servers {
				c.driverView.known = c.driverView.known || s.Kind != "Unknown"
			}
			if c.driverView.known {
				clear(c.driverView.refused)
			}
		},
		ServerHeartbeatFailed: func(e *event.ServerHeartbeatFailedEvent) {
			dial, ok := errors.AsType[*net.OpError](e.Failure)
			if !ok || dial.Op != "dial" || dial.Addr == nil {
				return
			}
			c.driverView.mu.Lock()
			c.driverView.refused[dial.Addr.String()] = true
			down := !c.driverView.known && len(c.driverView.refused) >= c.driverView.servers
			c.driverView.mu.Unlock()
			if _, before := c.conn.Get(); down && before == nil && c.wasPrepared() {
				c.conn.SetDown(backend.Errorf(backend.ErrUnavailable, "MongoDB at %s: %w", c.config.Address, e.Failure))
			}
		},
	}
}

// wasPrepared reports whether the server was available before. Until then, operations wait for it for a while.
func (c *Client) wasPrepared() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.prepared
}
