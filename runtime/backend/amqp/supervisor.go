package amqp

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	backoffFirst = 100 * time.Millisecond // maximum of the first pause, which doubles, with full jitter
	backoffMost  = 5 * time.Second
	stableAfter  = 2 * time.Second // a generation that lasted longer resets the backoff
)

// supervise opens one generation after another until the Conn is closed. first receives the result of the first
// attempt.
func (c *Conn) supervise(first chan<- error) {
	for number, failures := 1, 0; ; number++ {
		g, err := c.connect(c.ctx, number)
		if err == nil {
			c.setGeneration(g)
		} else {
			c.setDown(err)
		}
		select {
		case first <- err:
		default:
		}
		if err == nil {
			born := time.Now()
			c.log.Debug("connected to RabbitMQ", "at", g.target.String(), "generation", number)
			select {
			case <-g.lost:
			case <-c.ctx.Done():
				g.closeGracefully()
			}
			c.clearGeneration(g)
			g.wait()
			if time.Since(born) > stableAfter {
				failures = 0
			}
			if c.ctx.Err() == nil {
				c.log.Debug("connection to RabbitMQ lost, reconnecting", "at", g.target.String(), "error", g.err)
			}
		} else {
			c.log.Debug("connecting to RabbitMQ failed, retrying", "error", err)
		}
		failures++
		select {
		case <-time.After(rand.N(min(backoffFirst<<min(failures-1, 10), backoffMost))):
		case <-c.ctx.Done():
			c.setDown(errClosed())
			return
		}
	}
}

// connect opens a generation at the first usable target. If there is none, it prefers an error of a broker that
// rejected the connection.
func (c *Conn) connect(ctx context.Context, number int) (*generation, error) {
	var cause error
	for i := range c.targets {
		g, err := c.open(ctx, c.targets[(i+number-1)%len(c.targets)], number)
		if err == nil {
			return g, nil
		}
		if cause == nil || !refused(cause) {
			cause = err
		}
	}
	return nil, cause
}

// setGeneration makes g the current generation.
func (c *Conn) setGeneration(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current, c.downErr = g, nil
	c.notify()
}

func (c *Conn) clearGeneration(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = nil
	c.downErr = backend.Errorf(backend.ErrUnavailable, "connection to RabbitMQ lost: %w", g.err).
		With(backend.OutcomeNotSent)
	c.notify()
}

// setDown records why there is no generation.
func (c *Conn) setDown(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.downErr = serverDown(asError(err, backend.ErrUnavailable, "connecting to RabbitMQ", backend.OutcomeNotSent))
	c.notify()
}

// serverDown marks e as an error for which retrying at once is pointless. The error of a connection that has just been
// lost isn't marked, since the next connection may open soon.
func serverDown(e *backend.Error) *backend.Error {
	down := backend.Errorf(e.Code, "%w", errors.Join(backend.ErrServerDown, e))
	down.Message = e.Message
	return down.With(backend.OutcomeNotSent)
}

// notify wakes callers that wait for a change. The caller holds mu.
func (c *Conn) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Conn) notifyChange() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notify()
}

// usable returns the current generation, or an error with code ErrUnavailable and outcome not sent.
func (c *Conn) usable() (*generation, *backend.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, errClosed()
	case c.current == nil:
		return nil, unavailable(c.downErr)
	case c.current.isStalled():
		return nil, serverDown(c.current.stallError())
	}
	return c.current, nil
}

// unavailable returns why with code ErrUnavailable, which is what it means to callers, whatever the cause.
func unavailable(why *backend.Error) *backend.Error {
	e := backend.Errorf(backend.ErrUnavailable, "%w", why)
	e.Message = why.Message
	return e.With(backend.OutcomeNotSent)
}

// awaitGeneration waits for a generation other than after, stalled or not. It returns nil if ctx or the Conn has ended.
func (c *Conn) awaitGeneration(ctx context.Context, after *generation) *generation {
	for {
		c.mu.Lock()
		g, changed := c.current, c.changed
		c.mu.Unlock()
		if c.ctx.Err() != nil || ctx.Err() != nil {
			return nil
		}
		if g != nil && g != after {
			return g
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-c.ctx.Done():
		}
	}
}

// State implements backend.Transport. It also reports false while the broker confirms messages late, and while a
// listener doesn't consume, for example because its queue was on a node of a cluster that is down.
func (t *transport) State() (bool, <-chan struct{}) {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.current == nil || c.current.isStalled() {
		return false, c.changed
	}
	if c.deaf > 0 {
		return false, c.changed
	}
	_, late := c.current.hinting.Get()
	return late == nil, c.changed
}
