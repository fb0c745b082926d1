package amqp

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	backoffFirst = 100 * time.Millisecond // the longest first pause; it doubles, with full jitter
	backoffMost  = 5 * time.Second
	steady       = 2 * time.Second // a generation that lived as long was none of those that fail at once
)

// supervise opens one generation after the other until the Conn is closed. first gets what came of the first attempt.
func (c *Conn) supervise(first chan<- error) {
	for number, failures := 1, 0; ; number++ {
		g, err := c.connect(c.ctx, number)
		if err == nil {
			c.enter(g)
		} else {
			c.fail(err)
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
				g.farewell()
			}
			c.leave(g)
			g.wait()
			if time.Since(born) > steady {
				failures = 0
			}
			if c.ctx.Err() == nil {
				c.log.Debug("the connection with RabbitMQ has ended; it will be opened again", "at", g.target.String(), "error", g.err)
			}
		} else {
			c.log.Debug("RabbitMQ can't be used; it will be tried again", "error", err)
		}
		failures++
		select {
		case <-time.After(rand.N(min(backoffFirst<<min(failures-1, 10), backoffMost))):
		case <-c.ctx.Done():
			c.fail(errClosed())
			return
		}
	}
}

// connect opens a generation at the first target that can be used.
func (c *Conn) connect(ctx context.Context, number int) (*generation, error) {
	var worst error
	for i := range c.targets {
		g, err := c.open(ctx, c.targets[(i+number-1)%len(c.targets)], number)
		if err == nil {
			return g, nil
		}
		if worst == nil || !refused(worst) {
			worst = err
		}
	}
	return nil, worst
}

// enter makes g the current generation, unless it has ended.
func (c *Conn) enter(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current, c.why = g, nil
	c.change()
}

func (c *Conn) leave(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current, c.why = nil, backend.Errorf(backend.ErrUnavailable, "the connection with RabbitMQ has ended: %w", g.err).With(backend.OutcomeNotSent)
	c.change()
}

// fail notes why there is no generation.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why = away(asError(err, backend.ErrUnavailable, "connecting to RabbitMQ", backend.OutcomeNotSent))
	c.change()
}

// away is e as the error of what is not worth repeating at once. A connection that has only just ended is none of these: the
// next one may be open in a moment.
func away(e *backend.Error) *backend.Error {
	a := backend.Errorf(e.Code, "%w", errors.Join(backend.ErrServerDown, e))
	a.Message = e.Message
	return a.With(backend.OutcomeNotSent)
}

// change tells those who wait for one. The caller holds mu.
func (c *Conn) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// usable returns the generation that can carry now, or why none can: always unavailable, not sent.
func (c *Conn) usable() (*generation, *backend.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, errClosed()
	case c.current == nil:
		return nil, unavailable(c.why)
	case c.current.isBlocked():
		return nil, away(backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s takes no messages now: it is short of memory or disk",
			c.current.target))
	}
	return c.current, nil
}

// unavailable returns why with the code that it has for whoever wants to use the broker, whatever it is for the operator.
func unavailable(why *backend.Error) *backend.Error {
	e := backend.Errorf(backend.ErrUnavailable, "%w", why)
	e.Message = why.Message
	return e.With(backend.OutcomeNotSent)
}

// await returns the next generation that is not after, blocked or not, once there is one. nil: ctx or the Conn has ended.
func (c *Conn) await(ctx context.Context, after *generation) *generation {
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

// State implements backend.Transport.
func (t *transport) State() (bool, <-chan struct{}) {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed && c.current != nil && !c.current.isBlocked(), c.changed
}
