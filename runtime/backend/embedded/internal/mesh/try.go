package mesh

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A way leads to one instance: a link, or the Mesh itself. What the instance says comes back to the try, by its id. Only
// request may block, until ctx ends.
type way interface {
	pending() *pending
	request(ctx context.Context, t *try, req *backend.Request, left time.Duration) *backend.Error
	pass(id string)
	cancel(id string, why *backend.Error)
}

// A state is where a try stands.
type state int

const (
	untried  state = iota
	reaching       // there is no connection; one is being made
	sent           // the instance has the request, and runs it or will say that it doesn't
	inLine         // it was busy: the call stands in line there
	offered        // it has a slot reserved for the call
	answered       // it has answered
	lost           // the connection ended while it may have run the request
	refused        // it won't run the request, or can't be reached
)

// A try is what a call has going on with one instance. The call's goroutine moves it on, and so does what it hears.
type try struct {
	call *call
	peer string

	// These belong to the call's goroutine.
	way     way
	id      string
	dialed  bool
	counted bool // among the calls in flight there

	// These are guarded by call.mu.
	state  state
	reply  *backend.Reply
	err    *backend.Error // why it was refused
	packet *packet        // of the request, while it may not have been written; nil without a socket
}

// news is what an instance says of a call.
type news struct {
	state state
	reply *backend.Reply
	err   *backend.Error
}

// hear moves the try on, if the news make sense where it stands.
func (t *try) hear(n news) {
	c := t.call
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case n.state == inLine && t.state == sent:
	case n.state == offered && t.state == inLine:
	case n.state == answered && t.state == sent:
	case n.state == refused && (t.state == sent || t.state == inLine || t.state == offered):
	default:
		return
	}
	if r := n.reply; r != nil && r.Err != nil && r.Err.Code == backend.ErrFailedPrecondition && r.Err.Outcome == backend.OutcomeNotSent {
		n = news{state: refused, err: r.Err} // it has another version of the method: the call is tried at other instances
	}
	t.state, t.reply, t.err = n.state, n.reply, n.err
	c.wake.Set()
}

// end says that the connection has ended. Unless the instance may have begun the call, it may be tried once more.
func (t *try) end() {
	c := t.call
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case t.state == sent && t.packet != nil && !t.packet.withdraw():
		t.state = lost
	case t.state == sent || t.state == inLine || t.state == offered:
		t.state = untried
	}
	c.wake.Set()
}

// carry notes the packet that carries the request.
func (t *try) carry(p *packet) {
	t.call.mu.Lock()
	t.packet = p
	t.call.mu.Unlock()
}

// set moves the try on from where its call knows it to be.
func (t *try) set(s state) {
	t.call.mu.Lock()
	t.state = s
	t.call.mu.Unlock()
}

// turn moves the try on if it still stands where it was seen.
func (t *try) turn(from, to state) bool {
	t.call.mu.Lock()
	defer t.call.mu.Unlock()
	if t.state != from {
		return false
	}
	t.state, t.packet = to, nil
	return true
}

// pending holds the tries that wait for news along one way.
type pending struct {
	mu    sync.Mutex
	tries map[string]*try
	last  uint64
	ended bool
}

// add gives t an id of its own. False means that the way has ended.
func (p *pending) add(t *try) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
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

// tell passes news on. Those of an unknown id are for a call that has ended.
func (p *pending) tell(id string, n news) {
	p.mu.Lock()
	t := p.tries[id]
	p.mu.Unlock()
	if t != nil {
		t.hear(n)
	}
}

// end tells all that the way has ended.
func (p *pending) end() {
	p.mu.Lock()
	p.ended = true
	tries := p.tries
	p.tries = nil
	p.mu.Unlock()
	for _, t := range tries {
		t.end()
	}
}
