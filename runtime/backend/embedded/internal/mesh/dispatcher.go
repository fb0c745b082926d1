package mesh

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/slots"
)

const (
	maxWaiting  = 1024        // queued calls of one service
	reservation = time.Second // how long a slot is reserved for a queued call
)

// A dispatcher runs the calls to the Mesh's own services. It doesn't depend on how the calls arrived.
type dispatcher struct {
	mu       sync.Mutex // also guards callerCalls, incomingCall and Serving
	closed   bool
	services slots.Services[*Serving, *incomingCall]
}

// A caller is the origin of incoming calls and receives messages about them by call id. Only sendReply may block. It
// calls sent once the reply has been written or never will be.
type caller interface {
	sendBusy(id string)
	sendFree(id string)
	sendRefuse(id string, why *backend.Error)
	sendReply(id string, r *backend.Reply, sent func())
}

// callerCalls holds the queued, reserved and running calls of one caller. dispatcher.mu guards it.
type callerCalls struct {
	caller caller
	calls  map[string]*incomingCall
	closed bool
}

// An incomingCall is a call that is queued, has a slot reserved, or runs. dispatcher.mu guards it.
type incomingCall struct {
	dispatcher *dispatcher
	from       *callerCalls
	id         string
	service    string

	element  *list.Element           // in the queue of its service, while queued
	slot     *Serving                // reserved for it, or in use by it
	expiry   *time.Timer             // while a slot is reserved
	cancel   context.CancelCauseFunc // while it runs
	answered bool
}

// handleRequest starts a call, queues it, or refuses it.
func (d *dispatcher) handleRequest(from *callerCalls, id string, req *backend.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if from.closed {
		return
	}
	c := from.calls[id]
	if c != nil && c.slot != nil && c.cancel == nil && c.service == req.Service { // a slot is reserved for it
		c.expiry.Stop()
		c.start(req)
		return
	}
	svc := d.services[req.Service]
	switch {
	case c != nil:
		from.caller.sendRefuse(id, backend.Errorf(backend.ErrInvalidArgument, "correlation id %q is in use", id))
	case svc == nil:
		from.caller.sendRefuse(id, backend.Errorf(backend.ErrUnavailable, "this instance does not serve service %q",
			req.Service))
	default:
		c = &incomingCall{dispatcher: d, from: from, id: id, service: req.Service}
		if c.slot = svc.Acquire(); c.slot != nil {
			c.register()
			c.start(req)
		} else if svc.Waiting() < maxWaiting {
			c.register()
			c.element = svc.Enqueue(c)
			from.caller.sendBusy(id)
		} else {
			from.caller.sendRefuse(id, backend.Errorf(backend.ErrResourceExhausted,
				"too many calls wait for service %q, the limit is %d", req.Service, maxWaiting))
		}
	}
}

// handlePass removes a queued call or releases its reserved slot. It doesn't affect a running call.
func (d *dispatcher) handlePass(from *callerCalls, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := from.calls[id]; c != nil && c.cancel == nil {
		c.drop()
	}
}

// handleCancel cancels a call because its caller has stopped waiting.
func (d *dispatcher) handleCancel(from *callerCalls, id string, why *backend.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch c := from.calls[id]; {
	case c == nil:
	case c.cancel == nil:
		c.drop()
	default:
		c.cancel(backend.Errorf(why.Code, "the caller stopped waiting: %s", why.Message))
	}
}

// closeCaller cancels all calls of a caller that has disconnected.
func (d *dispatcher) closeCaller(from *callerCalls, why *backend.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	from.closed = true
	for _, c := range from.calls {
		if c.cancel == nil {
			c.drop()
		} else {
			c.cancel(why)
			c.unregister()
		}
	}
}

func (c *incomingCall) register() {
	if c.from.calls == nil {
		c.from.calls = map[string]*incomingCall{}
	}
	c.from.calls[c.id] = c
}

func (c *incomingCall) unregister() {
	if c.from.calls[c.id] == c {
		delete(c.from.calls, c.id)
	}
}

// drop removes a call that has not started.
func (c *incomingCall) drop() {
	c.unregister()
	if c.element != nil {
		c.dispatcher.services[c.service].Dequeue(c.element)
		return
	}
	c.expiry.Stop()
	c.slot.releaseSlot()
}

// Assign implements slots.Waiter: it reserves the slot for a moment.
func (c *incomingCall) Assign(in *Serving) {
	c.element, c.slot = nil, in
	c.expiry = time.AfterFunc(reservation, func() {
		c.dispatcher.mu.Lock()
		defer c.dispatcher.mu.Unlock()
		if c.cancel == nil && c.from.calls[c.id] == c {
			c.drop()
		}
	})
	c.from.caller.sendFree(c.id)
}

// start runs the handler on a new goroutine, which may end by a panic or runtime.Goexit.
func (c *incomingCall) start(req *backend.Request) {
	in := c.slot
	ctx, cancel := context.WithCancelCause(in.ctx)
	c.cancel = cancel
	go func() {
		defer c.finish()
		defer cancel(nil)
		ctx, stop := context.WithTimeout(ctx, req.Timeout)
		defer stop()
		in.handler(ctx, req, c.reply)
	}()
}

// reply sends the reply. The caller may reuse the id afterwards.
func (c *incomingCall) reply(r *backend.Reply) {
	d := c.dispatcher
	d.mu.Lock()
	if c.answered {
		d.mu.Unlock()
		return
	}
	c.answered = true
	c.unregister()
	c.slot.unsent++
	d.mu.Unlock()
	if len(r.Body) > backend.MaxMessage {
		r = &backend.Reply{Server: r.Server, Err: backend.Errorf(backend.ErrResourceExhausted,
			"the reply is %d bytes; at most %d are allowed", len(r.Body), backend.MaxMessage).With(backend.OutcomeAnswered)}
	}
	c.from.caller.sendReply(c.id, r, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		c.slot.unsent--
		c.slot.closeIfIdle()
	})
}

// finish releases the slot when the handler's goroutine ends.
func (c *incomingCall) finish() {
	c.reply(&backend.Reply{ // no effect if the handler has replied
		Err: backend.NewError(backend.ErrInternal, "the handler sent no reply").With(backend.OutcomeAnswered),
	})
	c.dispatcher.mu.Lock()
	defer c.dispatcher.mu.Unlock()
	c.slot.releaseSlot()
}
