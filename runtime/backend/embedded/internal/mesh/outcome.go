package mesh

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// outcome returns how a call has ended.
func (c *call) outcome(t *try) (*backend.Reply, error) {
	if t.state == answered {
		return t.reply, nil
	}
	return nil, backend.Errorf(backend.ErrUnavailable, "the connection with instance %s ended during a call of %s.%s",
		t.peer, c.req.Service, c.req.Method)
}

// gaveUp returns the error of a call whose context ended, and tells the instance that has the request.
func (c *call) gaveUp(s stand) error {
	cause := context.Cause(c.ctx)
	code := backend.CodeOf(c.ctx.Err())
	if s.sent == nil {
		return backend.Errorf(code, "no instance of service %q took the call: %w", c.req.Service, cause).With(backend.OutcomeNotSent)
	}
	err := backend.Errorf(code, "calling %s.%s: %w", c.req.Service, c.req.Method, cause)
	c.mu.Lock()
	if p := s.sent.packet; p != nil && p.withdraw() {
		err.Outcome = backend.OutcomeNotSent
	}
	c.mu.Unlock()
	s.sent.way.cancel(s.sent.id, backend.Errorf(code, "%w", cause))
	return err
}

// late is the error of a call whose time was up before an instance took it.
func (c *call) late() *backend.Error {
	return backend.Errorf(backend.ErrDeadlineExceeded, "no instance of service %q took the call: %w", c.req.Service, context.DeadlineExceeded).
		With(backend.OutcomeNotSent)
}

// nobody is the error of a call that no instance takes: that there is none, unless one had another reason.
func (c *call) nobody() *backend.Error {
	for _, t := range c.tries {
		if t.err != nil && t.err.Code != backend.ErrUnavailable {
			return t.err.With(backend.OutcomeNotSent)
		}
	}
	return backend.NoInstance(c.req.Service)
}
