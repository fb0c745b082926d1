package mesh

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// outcome returns the result of a call that was answered or lost.
func (c *call) outcome(t *try) (*backend.Reply, error) {
	if t.state == answered {
		return t.reply, nil
	}
	return nil, backend.Errorf(backend.ErrUnavailable, "the connection with instance %s ended during a call to %s.%s",
		t.peer, c.req.Service, c.req.Method)
}

// contextEnded returns the error of a call whose context ended, and cancels the request at the instance that has it.
func (c *call) contextEnded(s progress) error {
	cause := context.Cause(c.ctx)
	code := backend.CodeOf(c.ctx.Err())
	if s.sent == nil {
		return backend.Errorf(code, "no instance of service %q accepted the call: %w", c.req.Service, cause).
			With(backend.OutcomeNotSent)
	}
	err := backend.Errorf(code, "calling %s.%s: %w", c.req.Service, c.req.Method, cause)
	c.mu.Lock()
	if p := s.sent.packet; p != nil && p.withdraw() {
		err.Outcome = backend.OutcomeNotSent
	}
	c.mu.Unlock()
	s.sent.route.sendCancel(s.sent.id, backend.Errorf(code, "%w", cause))
	return err
}

// deadlineError returns the error of a call that timed out before it was sent.
func (c *call) deadlineError() *backend.Error {
	return backend.Errorf(backend.ErrDeadlineExceeded, "no instance of service %q accepted the call: %w", c.req.Service,
		context.DeadlineExceeded).
		With(backend.OutcomeNotSent)
}

// noInstance returns the error of a call that no instance accepted: the reason of a refusal, or that there is no
// instance.
func (c *call) noInstance() *backend.Error {
	for _, t := range c.tries {
		if t.err != nil && t.err.Code != backend.ErrUnavailable {
			return t.err.With(backend.OutcomeNotSent)
		}
	}
	return backend.NoInstance(c.req.Service)
}
