package mesh

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A route leads to one instance: it is a link, or the Mesh itself. The instance's answers are delivered to the try by
// its id. Only sendRequest may block, until ctx ends.
type route interface {
	pending() *pending
	sendRequest(ctx context.Context, t *try, req *backend.Request, left time.Duration) *backend.Error
	sendPass(id string)
	sendCancel(id string, why *backend.Error)
}

// A state is the state of a try.
type state int

const (
	untried    state = iota
	connecting       // a connection is being made
	sent             // the instance has the request, and will answer or reject it
	queued           // the instance was busy and has queued the call
	offered          // the instance has reserved a slot for the call
	answered         // the instance has replied
	lost             // the connection ended while the instance may have run the request
	refused          // the instance rejected the request, or can't be reached
)

// A try is one call's exchange with one instance. The call's goroutine and incoming frames change its state.
type try struct {
	call *call
	peer string

	// Used only by the call's goroutine.
	route   route
	id      string
	dialed  bool
	counted bool // counted as in flight by balance

	// Guarded by call.mu.
	state  state
	reply  *backend.Reply
	err    *backend.Error // why the state is refused
	packet *packet        // the request's, while it may be unwritten; nil without a socket
}

// A callEvent is a message about a call from the instance.
type callEvent struct {
	state state
	reply *backend.Reply
	err   *backend.Error
}

// apply changes the state, unless the event doesn't fit the current state.
func (t *try) apply(n callEvent) {
	c := t.call
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case n.state == queued && t.state == sent:
	case n.state == offered && t.state == queued:
	case n.state == answered && t.state == sent:
	case n.state == refused && (t.state == sent || t.state == queued || t.state == offered):
	default:
		return
	}
	if r := n.reply; r != nil && r.Err != nil && r.Err.Code == backend.ErrFailedPrecondition &&
		r.Err.Outcome == backend.OutcomeNotSent {
		n = callEvent{state: refused, err: r.Err} // another version of the method: try the other instances
	}
	t.state, t.reply, t.err = n.state, n.reply, n.err
	c.wake.Set()
}

// routeClosed handles the end of the connection. The try may be sent again unless the instance may have started the
// call.
func (t *try) routeClosed() {
	c := t.call
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case t.state == sent && t.packet != nil && !t.packet.withdraw():
		t.state = lost
	case t.state == sent || t.state == queued || t.state == offered:
		t.state = untried
	}
	c.wake.Set()
}

// setPacket sets the packet that carries the request.
func (t *try) setPacket(p *packet) {
	t.call.mu.Lock()
	t.packet = p
	t.call.mu.Unlock()
}

// setState sets the state, whatever it was.
func (t *try) setState(s state) {
	t.call.mu.Lock()
	t.state = s
	t.call.mu.Unlock()
}

// transition changes the state from one to another. It returns false if the state has changed meanwhile.
func (t *try) transition(from, to state) bool {
	t.call.mu.Lock()
	defer t.call.mu.Unlock()
	if t.state != from {
		return false
	}
	t.state, t.packet = to, nil
	return true
}

// pending holds the tries that wait for answers on one route.
type pending struct {
	mu     sync.Mutex
	tries  map[string]*try
	last   uint64
	closed bool
}

// add assigns an id to t and adds it. It returns false if the route is closed.
func (p *pending) add(t *try) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.tries == nil {
		p.tries = map[string]*try{}
	}
	p.last++
	t.id = strconv.FormatUint(p.last, 10)
	p.tries[t.id] = t
	return true
}

func (p *pending) remove(id string) {
	p.mu.Lock()
	delete(p.tries, id)
	p.mu.Unlock()
}

// deliver passes an event to its try. It ignores unknown ids, which belong to calls that have ended.
func (p *pending) deliver(id string, n callEvent) {
	p.mu.Lock()
	t := p.tries[id]
	p.mu.Unlock()
	if t != nil {
		t.apply(n)
	}
}

// close notifies all tries that the route has ended.
func (p *pending) close() {
	p.mu.Lock()
	p.closed = true
	tries := p.tries
	p.tries = nil
	p.mu.Unlock()
	for _, t := range tries {
		t.routeClosed()
	}
}
