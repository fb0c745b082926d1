package mesh

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/slots"
)

// A Serving is one endpoint served by this Mesh. It implements backend.Serving.
type Serving struct {
	dispatcher *dispatcher
	endpoint   backend.Endpoint
	handler    backend.Handler
	ctx        context.Context // parent of the handlers' contexts
	cancel     context.CancelCauseFunc
	idle       chan struct{} // closed when it is deregistered, no call runs and all replies are written

	// Guarded by dispatcher.mu.
	slots.Slots      // used by handlers and reservations
	unsent       int // replies that are not written yet
	deregistered bool
}

// Serve handles calls to e.Service with h, at most e.Concurrency at once. Afterwards the caller must make Resolve name
// this instance.
func (m *Mesh) Serve(e backend.Endpoint, h backend.Handler) *Serving {
	in := &Serving{dispatcher: &m.dispatcher, endpoint: e, handler: h, idle: make(chan struct{}),
		Slots: slots.Slots{Max: e.Concurrency}}
	in.ctx, in.cancel = context.WithCancelCause(context.Background())
	d := &m.dispatcher
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		in.deregistered = true
		in.closeIfIdle()
		in.cancel(errClosed())
		return in
	}
	d.services.Add(e.Service, in)
	return in
}

// Drain implements backend.Serving. If it was the last instance of the service here, queued calls are refused.
func (in *Serving) Drain(ctx context.Context) error {
	in.dispatcher.mu.Lock()
	in.deregister()
	in.dispatcher.mu.Unlock()
	select {
	case <-in.idle:
	default:
		select {
		case <-in.idle:
		case <-ctx.Done():
			in.dispatcher.mu.Lock()
			running, unsent := in.InUse, in.unsent
			in.dispatcher.mu.Unlock()
			if unsent > 0 {
				return backend.Errorf(backend.ErrDeadlineExceeded,
					"%d calls of service %q still run and %d replies are not sent: %w",
					running, in.endpoint.Service, unsent, context.Cause(ctx))
			}
			return backend.Errorf(backend.ErrDeadlineExceeded, "%d calls of service %q still run: %w", running,
				in.endpoint.Service, context.Cause(ctx))
		}
	}
	in.cancel(nil)
	return nil
}

// Close implements backend.Serving.
func (in *Serving) Close(cause error) {
	in.dispatcher.mu.Lock()
	in.deregister()
	in.dispatcher.mu.Unlock()
	in.cancel(cause)
}

// deregister removes the instance from its service. If it was the last one, queued calls are refused. Slots reserved
// before can still be used.
func (in *Serving) deregister() {
	if in.deregistered {
		return
	}
	in.deregistered = true
	in.closeIfIdle()
	name := in.endpoint.Service
	for _, c := range in.dispatcher.services.Remove(name, in) {
		c.unregister()
		c.from.caller.sendRefuse(c.id, backend.Errorf(backend.ErrUnavailable, "this instance no longer serves service %q",
			name))
	}
}

// releaseSlot releases a slot.
func (in *Serving) releaseSlot() {
	in.InUse--
	if in.deregistered {
		in.closeIfIdle()
		return
	}
	in.dispatcher.services[in.endpoint.Service].Dispatch()
}

// closeIfIdle closes in.idle if there is nothing left to wait for.
func (in *Serving) closeIfIdle() {
	if in.deregistered && in.InUse == 0 && in.unsent == 0 {
		select {
		case <-in.idle:
		default:
			close(in.idle)
		}
	}
}

// close closes all servings. Later calls to Serve return a closed Serving.
func (d *dispatcher) close(cause error) {
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
