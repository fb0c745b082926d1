package mesh

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/slots"
)

// A Serving is one endpoint served by this Mesh. It is a backend.Serving.
type Serving struct {
	desk     *desk
	endpoint backend.Endpoint
	handler  backend.Handler
	ctx      context.Context // parent of its handlers' contexts
	cancel   context.CancelCauseFunc
	idle     chan struct{} // closed when it has left, nothing runs and every reply has gone

	// These belong to the desk.
	slots.Slots     // taken by handlers and reservations
	unsent      int // replies on their way to the socket
	left        bool
}

// Serve makes calls to e.Service that reach this Mesh be answered by h, at most e.Concurrency at once. The caller lets
// Resolve say so afterwards.
func (m *Mesh) Serve(e backend.Endpoint, h backend.Handler) *Serving {
	in := &Serving{desk: &m.desk, endpoint: e, handler: h, idle: make(chan struct{}), Slots: slots.Slots{Max: e.Concurrency}}
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
	d.services.Add(e.Service, in)
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
			running, unsent := in.InUse, in.unsent
			in.desk.mu.Unlock()
			if unsent > 0 {
				return backend.Errorf(backend.ErrDeadlineExceeded, "%d calls of service %q still run, and %d replies have not been sent: %w",
					running, in.endpoint.Service, unsent, context.Cause(ctx))
			}
			return backend.Errorf(backend.ErrDeadlineExceeded, "%d calls of service %q still run: %w", running, in.endpoint.Service, context.Cause(ctx))
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
	for _, v := range in.desk.services.Remove(name, in) {
		v.leave()
		v.book.from.refuse(v.id, backend.Errorf(backend.ErrUnavailable, "this instance no longer serves service %q", name))
	}
}

// free gives back a slot.
func (in *Serving) free() {
	in.InUse--
	if in.left {
		in.settle()
		return
	}
	in.desk.services[in.endpoint.Service].Dispatch()
}

// settle says so when there is nothing left to wait for.
func (in *Serving) settle() {
	if in.left && in.InUse == 0 && in.unsent == 0 {
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
		all = append(all, svc.Instances()...)
	}
	d.mu.Unlock()
	for _, in := range all {
		in.Close(cause)
	}
}

var _ backend.Serving = (*Serving)(nil)
