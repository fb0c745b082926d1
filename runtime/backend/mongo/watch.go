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
	// pingPatience is after how long without an answer a server counts as away that nothing else is known of: one that is
	// merely slow is none, and half a lease is left.
	pingPatience = 5 * time.Second
)

// State says why operations fail at once, nil: they don't, and returns a channel that is closed when that may have changed.
// A server that is away is looked for in the background.
func (c *Client) State() (changed <-chan struct{}, err error) { return c.conn.Get() }

// beginWatch begins to watch the server, once.
func (c *Client) beginWatch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.watched && !c.closed {
		c.watched = true
		c.done.Go(c.watch)
	}
}

// watch pings the server every second until the client is closed, and prepares one that was unavailable. The
// driver looks, too, but only every ten seconds, unless a caller waits for a server. While the server is unavailable, a question that
// hangs doesn't keep the next one waiting: it may be on a connection that the network has forgotten, and the server be back.
func (c *Client) watch() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	slots := make(chan struct{}, pingPatience/pingEvery)
	for {
		select {
		case <-tick.C:
		case <-c.alive.Done():
			return
		}
		if _, away := c.conn.Get(); away == nil {
			c.look()
			continue
		}
		select {
		case slots <- struct{}{}:
			asking.Go(func() {
				c.look()
				<-slots
			})
		default:
		}
	}
}

// look asks the server once.
func (c *Client) look() {
	_, away := c.conn.Get()
	losses := c.conn.Epoch()
	ctx, cancel := context.WithTimeout(c.alive, pingPatience)
	defer cancel()
	err := c.Ping(ctx)
	if err == nil && away != nil { // otherwise the caller that needs it prepares it, which may take longer than a ping may
		err = c.Prepare(ctx)
	}
	switch {
	case c.alive.Err() != nil:
	case err == nil:
		c.conn.SetUp(losses)
	case away == nil && c.conn.Epoch() == losses:
		c.conn.SetDown(err)
	}
}

// looks is what the driver has found out about the servers lately. That it knows none may mean no more than that one
// connection broke; where it then can't connect to any, they are away.
type looks struct {
	mu      sync.Mutex
	servers int
	known   bool            // it knows a server
	refused map[string]bool // addresses that took no connection since it knew one
}

// looksMonitor lets operations fail as soon as the driver knows that no server can be reached, rather than after they have
// waited for one. Its functions are called under locks of the driver's and ask it nothing.
func (c *Client) looksMonitor() *event.ServerMonitor {
	c.looks.refused = map[string]bool{}
	return &event.ServerMonitor{
		TopologyDescriptionChanged: func(e *event.TopologyDescriptionChangedEvent) {
			c.looks.mu.Lock()
			defer c.looks.mu.Unlock()
			c.looks.servers, c.looks.known = len(e.NewDescription.Servers), false
			for _, s := range e.NewDescription.Servers {
				c.looks.known = c.looks.known || s.Kind != "Unknown"
			}
			if c.looks.known {
				clear(c.looks.refused)
			}
		},
		ServerHeartbeatFailed: func(e *event.ServerHeartbeatFailedEvent) {
			dial, ok := errors.AsType[*net.OpError](e.Failure)
			if !ok || dial.Op != "dial" || dial.Addr == nil {
				return
			}
			c.looks.mu.Lock()
			c.looks.refused[dial.Addr.String()] = true
			away := !c.looks.known && len(c.looks.refused) >= c.looks.servers
			c.looks.mu.Unlock()
			if _, before := c.conn.Get(); away && before == nil && c.wasPrepared() {
				c.conn.SetDown(backend.Errorf(backend.ErrUnavailable, "MongoDB at %s: %w", c.config.Address, e.Failure))
			}
		},
	}
}

// wasPrepared says whether the server has ever been there: before that, whoever waits for it does so for a while.
func (c *Client) wasPrepared() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.prepared
}
