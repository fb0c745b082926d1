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

// lookAgain is how often a call that waits in line asks whether there are more instances.
const lookAgain = 250 * time.Millisecond

// A call is one Call on its way: a try at each instance that is known to serve the service. At most one of them has the
// request at any time, so that no call runs twice.
type call struct {
	mesh  *Mesh
	ctx   context.Context
	req   *backend.Request
	until time.Time // the request's time is up
	timer *time.Timer
	fresh bool // all there is to know about instances is known
	tries []*try
	open  []*try // those that could be tried now; of the last look

	mu   sync.Mutex    // guards what the tries hear
	wake signal.Signal // set when they heard something
}

// Call brings req to one instance of its service, as backend.Calls says.
func (m *Mesh) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	if err := envelope.Check(req); err != nil {
		return nil, err.With(backend.OutcomeNotSent)
	}
	if m.ctx.Err() != nil {
		return nil, errClosed()
	}
	if ctx.Err() != nil {
		return nil, backend.Errorf(backend.CodeOf(ctx.Err()), "not begun: %w", context.Cause(ctx)).With(backend.OutcomeNotSent)
	}
	c := &call{mesh: m, ctx: ctx, req: req, until: time.Now().Add(req.Timeout), wake: signal.New()}
	if err := c.resolve(false); err != nil {
		return nil, err
	}
	defer c.leave()
	for {
		s := c.look()
		if s.over != nil {
			return c.outcome(s.over)
		}
		moved, err := c.move(s)
		if err == nil && !moved {
			err = c.wait(s)
		}
		if err != nil {
			return nil, err
		}
	}
}

// resolve adds a try for each instance that it didn't know.
func (c *call) resolve(fresh bool) error {
	peers, err := c.mesh.o.Resolve(c.ctx, c.req.Service, fresh)
	if err != nil {
		if e, ok := errors.AsType[*backend.Error](err); ok {
			err := *e
			return err.With(backend.OutcomeNotSent)
		}
		return backend.Errorf(codeOr(err, backend.ErrUnavailable), "looking up service %q: %w", c.req.Service, err).With(backend.OutcomeNotSent)
	}
	c.fresh = fresh
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

// A stand is how a call stands.
type stand struct {
	over    *try // answered, or lost
	sent    *try
	offered *try
	waiting int // in line, or for a connection
}

func (c *call) look() stand {
	var s stand
	c.open = c.open[:0]
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tries {
		if t.state != sent && t.counted {
			c.mesh.balance.done(t)
		}
		switch t.state {
		case untried:
			c.open = append(c.open, t)
		case reaching, inLine:
			s.waiting++
		case sent:
			s.sent = t
		case offered:
			s.offered = t
		case answered, lost:
			s.over = t
		}
	}
	return s
}

// move takes the next step, if there is one that doesn't wait. An error ends the call.
func (c *call) move(s stand) (moved bool, err error) {
	switch {
	case s.offered != nil && s.sent == nil:
		return true, c.accept(s.offered)
	case s.offered != nil:
		// Whoever has the request may still be busy; then this one is asked again.
		c.stepOut(s.offered)
		return true, nil
	case s.sent != nil:
		return false, nil
	case len(c.open) > 0:
		if t := c.mesh.pick(c.open); t != nil {
			return true, c.ask(t)
		}
		for _, t := range c.open {
			c.reach(t)
		}
		return true, nil
	case s.waiting > 0:
		return false, nil
	case !c.fresh:
		return true, c.resolve(true)
	}
	return false, c.nobody()
}

// ask sends the request to an instance.
func (c *call) ask(t *try) error {
	t.turn(untried, sent)
	if !t.way.pending().add(t) { // the connection has just ended
		t.set(untried)
		return nil
	}
	return c.request(t)
}

// accept sends the request to an instance that has a slot reserved for it, and leaves the other lines.
func (c *call) accept(t *try) error {
	if !t.turn(offered, sent) {
		return nil
	}
	for _, other := range c.tries {
		if other != t {
			c.stepOut(other)
		}
	}
	c.mesh.balance.begun(t)
	return c.request(t)
}

func (c *call) request(t *try) error {
	left := time.Until(c.until)
	var err *backend.Error
	if left > 0 {
		err = t.way.request(c.ctx, t, c.req, left)
	} else {
		err = c.late()
	}
	if err != nil {
		t.way.pass(t.id)
		return err
	}
	return nil
}

// stepOut leaves a line, or gives back a reserved slot.
func (c *call) stepOut(t *try) {
	if t.turn(inLine, untried) || t.turn(offered, untried) {
		t.way.pending().remove(t.id)
		t.way.pass(t.id)
	}
}

// reach has an instance connected, once.
func (c *call) reach(t *try) {
	if t.dialed {
		t.set(refused)
		return
	}
	t.dialed = true
	t.set(reaching)
	begun := c.mesh.begin(func() {
		ctx, cancel := context.WithCancel(c.ctx)
		defer cancel()
		defer context.AfterFunc(c.mesh.ctx, cancel)()
		if err := c.mesh.o.Dial(ctx, t.peer); err != nil {
			c.mesh.log.Debug("an instance can't be reached", "peer", t.peer, "service", c.req.Service, "error", err)
		}
		t.set(untried)
		c.wake.Set()
	})
	if !begun {
		t.set(refused)
	}
}

// wait waits for news.
func (c *call) wait(s stand) error {
	var tick <-chan time.Time
	if s.sent == nil { // from then on it's up to the instance, and ctx
		pause := min(lookAgain, time.Until(c.until))
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
			return c.late()
		}
		if err := c.resolve(false); err != nil {
			c.mesh.log.Debug("a call that waits couldn't look for more instances", "service", c.req.Service, "error", err)
		}
	case <-c.ctx.Done():
		return c.gaveUp(s)
	case <-c.mesh.ctx.Done():
		if s.sent == nil {
			return errClosed()
		}
		return backend.Errorf(backend.ErrUnavailable, "this app shut down during a call to %s.%s", c.req.Service, c.req.Method)
	}
	return nil
}

// leave takes the call out of wherever it still waits.
func (c *call) leave() {
	for _, t := range c.tries {
		c.mesh.balance.done(t)
		if t.way != nil {
			c.stepOut(t)
			t.way.pending().remove(t.id)
		}
	}
	if c.timer != nil {
		c.timer.Stop()
	}
}
