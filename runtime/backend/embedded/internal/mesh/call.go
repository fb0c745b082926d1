package mesh

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// resolveInterval is how often a queued call checks for more instances.
const resolveInterval = 250 * time.Millisecond

// A call is one Call in progress. It has a try for each known instance of the service. At most one try has sent the
// request and not been rejected, so a call never runs twice.
type call struct {
	mesh          *Mesh
	ctx           context.Context
	req           *backend.Request
	until         time.Time // when the request times out
	timer         *time.Timer
	resolvedFresh bool // the last resolve was fresh
	tries         []*try
	candidates    []*try // tries that have not been sent, as of the last snapshot

	mu   sync.Mutex    // guards the state of the tries
	wake signal.Signal // set when a state has changed
}

// Call sends req to one instance of its service, as specified by backend.Calls.
func (m *Mesh) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	if err := envelope.Check(req); err != nil {
		return nil, err.With(backend.OutcomeNotSent)
	}
	if m.ctx.Err() != nil {
		return nil, errClosed()
	}
	if ctx.Err() != nil {
		return nil, backend.Errorf(backend.CodeOf(ctx.Err()), "not begun: %w", context.Cause(ctx)).
			With(backend.OutcomeNotSent)
	}
	c := &call{mesh: m, ctx: ctx, req: req, until: time.Now().Add(req.Timeout), wake: signal.New()}
	if err := c.resolve(false); err != nil {
		return nil, err
	}
	defer c.cleanUp()
	for {
		s := c.snapshot()
		if s.done != nil {
			return c.outcome(s.done)
		}
		moved, err := c.step(s)
		if err == nil && !moved {
			err = c.wait(s)
		}
		if err != nil {
			return nil, err
		}
	}
}

// resolve adds a try for each instance that is not known yet.
func (c *call) resolve(fresh bool) error {
	peers, err := c.mesh.o.Resolve(c.ctx, c.req.Service, fresh)
	if err != nil {
		if e, ok := errors.AsType[*backend.Error](err); ok {
			err := *e
			return err.With(backend.OutcomeNotSent)
		}
		return backend.Errorf(codeOr(err, backend.ErrUnavailable), "looking up service %q: %w", c.req.Service, err).
			With(backend.OutcomeNotSent)
	}
	c.resolvedFresh = fresh
	for _, peer := range peers {
		if !slices.ContainsFunc(c.tries, func(t *try) bool { return t.peer == peer }) {
			c.tries = append(c.tries, &try{call: c, peer: peer})
		}
	}
	return nil
}

func codeOr(err error, code backend.Code) backend.Code {
	if c := backend.CodeOf(err); c != backend.ErrUnknown {
		return c
	}
	return code
}

// progress is a snapshot of a call.
type progress struct {
	done    *try // answered or lost
	sent    *try
	offered *try
	waiting int // tries that are queued or connecting
}

// snapshot returns the call's progress and updates c.candidates.
func (c *call) snapshot() progress {
	var s progress
	c.candidates = c.candidates[:0]
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tries {
		if t.state != sent && t.counted {
			c.mesh.balance.done(t)
		}
		switch t.state {
		case untried:
			c.candidates = append(c.candidates, t)
		case connecting, queued:
			s.waiting++
		case sent:
			s.sent = t
		case offered:
			s.offered = t
		case answered, lost:
			s.done = t
		}
	}
	return s
}

// step takes the next step that doesn't block, if there is one. An error ends the call.
func (c *call) step(s progress) (moved bool, err error) {
	switch {
	case s.offered != nil && s.sent == nil:
		return true, c.acceptOffer(s.offered)
	case s.offered != nil:
		// Another instance has the request. If it turns out to be busy, this one is tried again.
		c.leaveQueue(s.offered)
		return true, nil
	case s.sent != nil:
		return false, nil
	case len(c.candidates) > 0:
		if t := c.mesh.pick(c.candidates); t != nil {
			return true, c.sendTo(t)
		}
		for _, t := range c.candidates {
			c.connect(t)
		}
		return true, nil
	case s.waiting > 0:
		return false, nil
	case !c.resolvedFresh:
		return true, c.resolve(true)
	}
	return false, c.noInstance()
}

// sendTo sends the request to an instance.
func (c *call) sendTo(t *try) error {
	t.transition(untried, sent)
	if !t.route.pending().add(t) { // the connection has just ended
		t.setState(untried)
		return nil
	}
	return c.sendRequest(t)
}

// acceptOffer sends the request to an instance that has reserved a slot, and leaves the queues of the others.
func (c *call) acceptOffer(t *try) error {
	if !t.transition(offered, sent) {
		return nil
	}
	for _, other := range c.tries {
		if other != t {
			c.leaveQueue(other)
		}
	}
	c.mesh.balance.started(t)
	return c.sendRequest(t)
}

func (c *call) sendRequest(t *try) error {
	left := time.Until(c.until)
	var err *backend.Error
	if left > 0 {
		err = t.route.sendRequest(c.ctx, t, c.req, left)
	} else {
		err = c.deadlineError()
	}
	if err != nil {
		t.route.sendPass(t.id)
		return err
	}
	return nil
}

// leaveQueue leaves an instance's queue, or gives up a reserved slot.
func (c *call) leaveQueue(t *try) {
	if t.transition(queued, untried) || t.transition(offered, untried) {
		t.route.pending().remove(t.id)
		t.route.sendPass(t.id)
	}
}

// connect connects to an instance. It tries only once.
func (c *call) connect(t *try) {
	if t.dialed {
		t.setState(refused)
		return
	}
	t.dialed = true
	t.setState(connecting)
	started := c.mesh.start(func() {
		ctx, cancel := context.WithCancel(c.ctx)
		defer cancel()
		defer context.AfterFunc(c.mesh.ctx, cancel)()
		if err := c.mesh.o.Dial(ctx, t.peer); err != nil {
			c.mesh.log.Debug("cannot connect to instance", "peer", t.peer, "service", c.req.Service, "error", err)
		}
		t.setState(untried)
		c.wake.Set()
	})
	if !started {
		t.setState(refused)
	}
}

// wait waits until a state changes.
func (c *call) wait(s progress) error {
	var tick <-chan time.Time
	if s.sent == nil { // otherwise only the instance or ctx ends the call
		pause := min(resolveInterval, time.Until(c.until))
		if c.timer == nil {
			c.timer = time.NewTimer(pause)
		} else {
			c.timer.Reset(pause)
		}
		tick = c.timer.C
	}
	select {
	case <-c.wake.C():
	case <-tick:
		if !time.Now().Before(c.until) {
			return c.deadlineError()
		}
		if err := c.resolve(false); err != nil {
			c.mesh.log.Debug("cannot look for more instances of a busy service", "service", c.req.Service, "error", err)
		}
	case <-c.ctx.Done():
		return c.contextEnded(s)
	case <-c.mesh.ctx.Done():
		if s.sent == nil {
			return errClosed()
		}
		return backend.Errorf(backend.ErrUnavailable, "this app shut down during a call to %s.%s", c.req.Service,
			c.req.Method)
	}
	return nil
}

// cleanUp leaves all queues and releases the call's resources.
func (c *call) cleanUp() {
	for _, t := range c.tries {
		c.mesh.balance.done(t)
		if t.route != nil {
			c.leaveQueue(t)
			t.route.pending().remove(t.id)
		}
	}
	if c.timer != nil {
		c.timer.Stop()
	}
}
