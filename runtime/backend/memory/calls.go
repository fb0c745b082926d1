package memory

import (
	"container/list"
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/slots"
)

// A session is one App's part in the world: its end of the Calls port.
type session struct {
	backend  *Backend
	instance backend.Instance

	once   sync.Once
	closed chan struct{}
}

func (s *session) close(context.Context) error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// A waiter is a call to which no instance could be given yet. given gets one value, at most: an instance with a slot
// taken, or nil when the last instance has left.
type waiter struct {
	given chan *instance
}

// Give implements slots.Waiter.
func (w *waiter) Assign(in *instance) { w.given <- in }

// An instance is one Serving of a service.
type instance struct {
	backend  *Backend
	endpoint backend.Endpoint
	handler  backend.Handler
	ctx      context.Context // parent of its handlers' contexts
	cancel   context.CancelCauseFunc

	// Guarded by Backend.mu.
	slots.Slots
	left bool
	idle chan struct{} // closed when it has left and nothing runs
}

// Call implements backend.Calls.
func (s *session) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	in, err := s.take(ctx, req.Service)
	if err != nil {
		return nil, err
	}
	hctx, cancel := context.WithCancelCause(in.ctx)
	replies := make(chan *backend.Reply, 1)
	go func() {
		defer in.free()
		defer cancel(nil)
		hctx, stop := context.WithTimeout(hctx, req.Timeout)
		defer stop()
		in.handler(hctx, req, func(r *backend.Reply) { replies <- r })
	}()
	select {
	case r := <-replies:
		return r, nil
	case <-ctx.Done():
		// The handler learns why, and its slot stays taken until it returns.
		err := context.Cause(ctx)
		cancel(backend.Errorf(backend.CodeOf(ctx.Err()), "the caller gave up: %w", err))
		return nil, ended(ctx, backend.OutcomeUnknown, req)
	case <-s.closed:
		cancel(backend.NewError(backend.ErrCanceled, "the caller has shut down"))
		return nil, backend.Errorf(backend.ErrUnavailable, "this app shut down during a call of %s.%s", req.Service, req.Method)
	}
}

// ended is the error of a call whose context ended.
func ended(ctx context.Context, o backend.Outcome, req *backend.Request) *backend.Error {
	return backend.Errorf(backend.CodeOf(ctx.Err()), "calling %s.%s: %w", req.Service, req.Method, context.Cause(ctx)).With(o)
}

// take returns an instance with a slot taken for the caller, waiting while all are busy.
func (s *session) take(ctx context.Context, name string) (*instance, error) {
	b := s.backend
	b.mu.Lock()
	svc := b.services[name]
	if svc == nil {
		b.mu.Unlock()
		return nil, backend.NoInstance(name)
	}
	if in := svc.Acquire(); in != nil {
		b.mu.Unlock()
		return in, nil
	}
	w := &waiter{given: make(chan *instance, 1)}
	place := svc.Enqueue(w)
	b.mu.Unlock()

	select {
	case in := <-w.given:
		if in == nil {
			return nil, backend.NoInstance(name)
		}
		return in, nil
	case <-ctx.Done():
		s.giveUp(svc, place, w)
		return nil, backend.Errorf(backend.CodeOf(ctx.Err()), "every instance of service %q was busy: %w",
			name, context.Cause(ctx)).With(backend.OutcomeNotSent)
	case <-s.closed:
		s.giveUp(svc, place, w)
		return nil, backend.NewError(backend.ErrUnavailable, "this app has shut down").With(backend.OutcomeNotSent)
	}
}

// giveUp takes w out of the line, and passes on what it was given in the meantime.
func (s *session) giveUp(svc *slots.Service[*instance, *waiter], place *list.Element, w *waiter) {
	s.backend.mu.Lock()
	svc.Dequeue(place)
	s.backend.mu.Unlock()
	select {
	case in := <-w.given:
		if in != nil {
			in.free()
		}
	default:
	}
}

// free gives back a slot.
func (in *instance) free() {
	b := in.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	in.InUse--
	if in.left {
		if in.InUse == 0 {
			close(in.idle)
		}
		return
	}
	b.services[in.endpoint.Service].Dispatch()
}

// Serve implements backend.Calls.
func (s *session) Serve(_ context.Context, e backend.Endpoint, h backend.Handler) (backend.Serving, error) {
	in := &instance{backend: s.backend, endpoint: e, handler: h, idle: make(chan struct{}), Slots: slots.Slots{Max: e.Concurrency}}
	in.ctx, in.cancel = context.WithCancelCause(context.Background())
	b := s.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	b.services.Add(e.Service, in)
	return in, nil
}

// Drain implements backend.Serving. Calls that wait for a slot are not this instance's yet, so nothing has to be moved.
func (in *instance) Drain(ctx context.Context) error {
	in.leave()
	select {
	case <-in.idle:
		in.cancel(nil)
		return nil
	default:
	}
	select {
	case <-in.idle:
		in.cancel(nil)
		return nil
	case <-ctx.Done():
		in.backend.mu.Lock()
		n := in.InUse
		in.backend.mu.Unlock()
		return backend.Errorf(backend.ErrDeadlineExceeded, "%d calls of service %q still run: %w",
			n, in.endpoint.Service, context.Cause(ctx))
	}
}

// Close implements backend.Serving.
func (in *instance) Close(cause error) {
	in.leave()
	in.cancel(cause)
}

// leave takes the instance out of its service; the last one fails the calls that wait.
func (in *instance) leave() {
	b := in.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	if in.left {
		return
	}
	in.left = true
	if in.InUse == 0 {
		close(in.idle)
	}
	for _, w := range b.services.Remove(in.endpoint.Service, in) {
		w.given <- nil
	}
}
