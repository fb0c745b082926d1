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
	maxLine     = 1024        // calls that wait for a slot of one service here
	reservedFor = time.Second // a slot is, before the next in line gets it
)

// A desk is the side of the Mesh that answers: its own services, and the calls that have come for them. It doesn't know
// whether they came over a connection or from this process.
type desk struct {
	mu       sync.Mutex // guards all that is said to belong to the desk
	closed   bool
	services slots.Services[*Serving, *visit]
}

// A caller is where calls come from, and hears what becomes of each by its id. Only answer may block, and calls sent once
// the reply has left, or never will.
type caller interface {
	busy(id string)
	free(id string)
	refuse(id string, why *backend.Error)
	answer(id string, r *backend.Reply, sent func())
}

// A book holds the calls of one caller that wait, have a slot reserved, or run. Its visits belong to the desk.
type book struct {
	from   caller
	visits map[string]*visit
	closed bool
}

// A visit is one call in a book. Its fields belong to the desk.
type visit struct {
	desk    *desk
	book    *book
	id      string
	service string

	place    *list.Element           // in the line of its service, while it waits
	slot     *Serving                // reserved for it, or in which it runs
	expiry   *time.Timer             // while reserved
	cancel   context.CancelCauseFunc // while it runs
	answered bool
}

// request takes a call in: it begins, or is put in line, or refused.
func (d *desk) request(b *book, id string, req *backend.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b.closed {
		return
	}
	v := b.visits[id]
	if v != nil && v.slot != nil && v.cancel == nil && v.service == req.Service { // it comes for its reservation
		v.expiry.Stop()
		v.start(req)
		return
	}
	svc := d.services[req.Service]
	switch {
	case v != nil:
		b.from.refuse(id, backend.Errorf(backend.ErrInvalidArgument, "correlation id %q is in use", id))
	case svc == nil:
		b.from.refuse(id, backend.Errorf(backend.ErrUnavailable, "this instance doesn't serve service %q", req.Service))
	default:
		v = &visit{desk: d, book: b, id: id, service: req.Service}
		if v.slot = svc.Acquire(); v.slot != nil {
			v.enter()
			v.start(req)
		} else if svc.Waiting() < maxLine {
			v.enter()
			v.place = svc.Enqueue(v)
			b.from.busy(id)
		} else {
			b.from.refuse(id, backend.Errorf(backend.ErrResourceExhausted, "%d calls wait for service %q already", maxLine, req.Service))
		}
	}
}

// pass gives up a place in line, or a reservation. A call that runs goes on.
func (d *desk) pass(b *book, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := b.visits[id]; v != nil && v.cancel == nil {
		v.withdraw()
	}
}

// cancel ends a call because its caller gave up.
func (d *desk) cancel(b *book, id string, why *backend.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch v := b.visits[id]; {
	case v == nil:
	case v.cancel == nil:
		v.withdraw()
	default:
		v.cancel(backend.Errorf(why.Code, "the caller stopped waiting: %s", why.Message))
	}
}

// forget closes the book of a caller that is gone.
func (d *desk) forget(b *book, why *backend.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b.closed = true
	for _, v := range b.visits {
		if v.cancel == nil {
			v.withdraw()
		} else {
			v.cancel(why)
			v.leave()
		}
	}
}

func (v *visit) enter() {
	if v.book.visits == nil {
		v.book.visits = map[string]*visit{}
	}
	v.book.visits[v.id] = v
}

func (v *visit) leave() {
	if v.book.visits[v.id] == v {
		delete(v.book.visits, v.id)
	}
}

// withdraw takes back what was not begun.
func (v *visit) withdraw() {
	v.leave()
	if v.place != nil {
		v.desk.services[v.service].Dequeue(v.place)
		return
	}
	v.expiry.Stop()
	v.slot.free()
}

// Give implements slots.Waiter: the slot is reserved for a moment.
func (v *visit) Assign(in *Serving) {
	v.place, v.slot = nil, in
	v.expiry = time.AfterFunc(reservedFor, func() {
		v.desk.mu.Lock()
		defer v.desk.mu.Unlock()
		if v.cancel == nil && v.book.visits[v.id] == v {
			v.withdraw()
		}
	})
	v.book.from.free(v.id)
}

// start runs the handler in the visit's slot, on a goroutine that may end in any way.
func (v *visit) start(req *backend.Request) {
	in := v.slot
	ctx, cancel := context.WithCancelCause(in.ctx)
	v.cancel = cancel
	go func() {
		defer v.end()
		defer cancel(nil)
		ctx, stop := context.WithTimeout(ctx, req.Timeout)
		defer stop()
		in.handler(ctx, req, v.answer)
	}()
}

// answer sends the reply. The id may be used again from then on.
func (v *visit) answer(r *backend.Reply) {
	d := v.desk
	d.mu.Lock()
	if v.answered {
		d.mu.Unlock()
		return
	}
	v.answered = true
	v.leave()
	v.slot.unsent++
	d.mu.Unlock()
	if len(r.Body) > backend.MaxMessage {
		r = &backend.Reply{Server: r.Server, Err: backend.Errorf(backend.ErrResourceExhausted,
			"a reply of %d bytes; at most %d are allowed", len(r.Body), backend.MaxMessage).With(backend.OutcomeAnswered)}
	}
	v.book.from.answer(v.id, r, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		v.slot.unsent--
		v.slot.settle()
	})
}

// end frees the slot when the handler's goroutine ends.
func (v *visit) end() {
	v.answer(&backend.Reply{ // unless it has answered, as it must
		Err: backend.NewError(backend.ErrInternal, "the handler gave no answer").With(backend.OutcomeAnswered),
	})
	v.desk.mu.Lock()
	defer v.desk.mu.Unlock()
	v.slot.free()
}
