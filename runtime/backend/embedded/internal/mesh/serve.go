package mesh

import (
	"container/list"
	"context"
	"slices"

	"github.com/afgen/afgen/runtime/backend"
)

// A service is a name with the instances that serve it here, and the line of the calls that wait for one. It exists while
// it has instances. It belongs to the desk.
type service struct {
	instances []*Serving
	next      int       // where the round goes on
	line      list.List // of *visit, oldest first
}

// pick takes a slot of the next instance that has one, in turn.
func (svc *service) pick() *Serving {
	for range svc.instances {
		in := svc.instances[svc.next%len(svc.instances)]
		svc.next = (svc.next + 1) % len(svc.instances)
		if in.running < in.endpoint.Concurrency {
			in.running++
			return in
		}
	}
	return nil
}

// serveLine reserves free slots for those who wait. It is called whenever slots may have become free.
func (svc *service) serveLine() {
	for svc.line.Len() > 0 {
		in := svc.pick()
		if in == nil {
			return
		}
		svc.line.Remove(svc.line.Front()).(*visit).reserve(in)
	}
}

// A Serving is one endpoint served by this Mesh. It is a backend.Serving.
type Serving struct {
	desk     *desk
	endpoint backend.Endpoint
	handler  backend.Handler
	ctx      context.Context // parent of its handlers' contexts
	cancel   context.CancelCauseFunc
	idle     chan struct{} // closed when it has left, nothing runs and every reply has gone

	// These belong to the desk.
	running int // slots taken: by handlers and reservations
	unsent  int // replies on their way to the socket
	left    bool
}

// Serve makes calls to e.Service that reach this Mesh be answered by h, at most e.Concurrency at once. The caller lets
// Resolve say so afterwards.
func (m *Mesh) Serve(e backend.Endpoint, h backend.Handler) *Serving {
	in := &Serving{desk: &m.desk, endpoint: e, handler: h, idle: make(chan struct{})}
	in.ctx, in.cancel = context.WithCancelCause(context.Background())
	d := &m.desk
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		in.left = true
		in.settle()
		in.cancel(errClosed())
		return in
	}
	svc := d.services[e.Service]
	if svc == nil {
		svc = &service{}
		d.services[e.Service] = svc
	}
	svc.instances = append(svc.instances, in)
	svc.serveLine()
	return in
}

// Drain implements backend.Serving. Calls that wait in line are not this instance's yet; the last one sends them away.
func (in *Serving) Drain(ctx context.Context) error {
	in.desk.mu.Lock()
	in.leave()
	in.desk.mu.Unlock()
	select {
	case <-in.idle:
	default:
		select {
		case <-in.idle:
		case <-ctx.Done():
			in.desk.mu.Lock()
			running, unsent := in.running, in.unsent
			in.desk.mu.Unlock()
			return backend.Errorf(backend.ErrDeadlineExceeded, "%d calls of service %q still run, and %d replies have not been sent: %w",
				running, in.endpoint.Service, unsent, context.Cause(ctx))
		}
	}
	in.cancel(nil)
	return nil
}

// Close implements backend.Serving.
func (in *Serving) Close(cause error) {
	in.desk.mu.Lock()
	in.leave()
	in.desk.mu.Unlock()
	in.cancel(cause)
}

// leave takes the instance out of its service; the last one sends away those who wait. A slot that was reserved before may
// still be used.
func (in *Serving) leave() {
	if in.left {
		return
	}
	in.left = true
	in.settle()
	name := in.endpoint.Service
	svc := in.desk.services[name]
	svc.instances = slices.DeleteFunc(svc.instances, func(other *Serving) bool { return other == in })
	if len(svc.instances) > 0 {
		return
	}
	delete(in.desk.services, name)
	for svc.line.Len() > 0 {
		v := svc.line.Remove(svc.line.Front()).(*visit)
		v.leave()
		v.book.from.refuse(v.id, backend.Errorf(backend.ErrUnavailable, "this instance no longer serves service %q", name))
	}
}

// free gives back a slot.
func (in *Serving) free() {
	in.running--
	if in.left {
		in.settle()
		return
	}
	in.desk.services[in.endpoint.Service].serveLine()
}

// settle says so when there is nothing left to wait for.
func (in *Serving) settle() {
	if in.left && in.running == 0 && in.unsent == 0 {
		select {
		case <-in.idle:
		default:
			close(in.idle)
		}
	}
}

// close closes every serving. No more are taken.
func (d *desk) close(cause error) {
	d.mu.Lock()
	d.closed = true
	var all []*Serving
	for _, svc := range d.services {
		all = append(all, svc.instances...)
	}
	d.mu.Unlock()
	for _, in := range all {
		in.Close(cause)
	}
}

var _ backend.Serving = (*Serving)(nil)
