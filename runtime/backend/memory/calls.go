package memory

import (
	"container/list"
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/slots"
)

// A session implements backend.Calls for one App.
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

// A waiter is a call that waits for a free slot. assigned receives at most one value: an instance with a slot acquired,
// or nil if the last instance has left.
type waiter struct {
	assigned chan *instance
}

// Give implements slots.Waiter.
func (w *waiter) Assign(in *instance) { w.assigned <- in }

// An instance implements backend.Serving: one service of one App.
type instance struct {
	backend  *Backend
	endpoint backend.Endpoint
	handler  backend.Handler
	ctx      context.Context // parent of the handlers' contexts
	cancel   context.CancelCauseFunc

	// Guarded by Backend.mu.
	slots.Slots
	deregistered bool
	idle         chan struct{} // closed when it is deregistered and nothing runs
}

// Call implements backend.Calls.
func (s *session) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	in, err := s.acquireSlot(ctx, req.Service)
	if err != nil {
		return nil, err
	}
	hctx, cancel := context.WithCancelCause(in.ctx)
	replies := make(chan *backend.Reply, 1)
	go func() {
		defer in.releaseSlot()
		defer cancel(nil)
		hctx, stop := context.WithTimeout(hctx, req.Timeout)
		defer stop()
		in.handler(hctx, req, func(r *backend.Reply) { replies <- r })
	}()
	select {
	case r := <-replies:
		return r, nil
	case <-ctx.Done():
		// The slot stays in use until the handler returns.
		err := context.Cause(ctx)
		cancel(backend.Errorf(backend.CodeOf(ctx.Err()), "the caller stopped waiting: %w", err))
		return nil, callError(ctx, backend.OutcomeUnknown, req)
	case <-s.closed:
		cancel(backend.NewError(backend.ErrCanceled, "the caller has shut down"))
		return nil, backend.Errorf(backend.ErrUnavailable, "this app shut down during a call to %s.%s",
			req.Service, req.Method)
	}
}

// callError returns the error of a call whose context ended.
func callError(ctx context.Context, o backend.Outcome, req *backend.Request) *backend.Error {
	return backend.Errorf(backend.CodeOf(ctx.Err()), "calling %s.%s: %w", req.Service, req.Method, context.Cause(ctx)).
		With(o)
}

// acquireSlot returns an instance with a slot acquired. It blocks while all instances are busy.
func (s *session) acquireSlot(ctx context.Context, name string) (*instance, error) {
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
	w := &waiter{assigned: make(chan *instance, 1)}
	element := svc.Enqueue(w)
	b.mu.Unlock()

	select {
	case in := <-w.assigned:
		if in == nil {
			return nil, backend.NoInstance(name)
		}
		return in, nil
	case <-ctx.Done():
		s.stopWaiting(svc, element, w)
		return nil, backend.Errorf(backend.CodeOf(ctx.Err()), "no instance of service %q accepted the call: %w",
			name, context.Cause(ctx)).With(backend.OutcomeNotSent)
	case <-s.closed:
		s.stopWaiting(svc, element, w)
		return nil, backend.NewError(backend.ErrUnavailable, "this app has shut down").With(backend.OutcomeNotSent)
	}
}

// stopWaiting removes w from the queue, and releases the slot that it may have been assigned meanwhile.
func (s *session) stopWaiting(svc *slots.Service[*instance, *waiter], element *list.Element, w *waiter) {
	s.backend.mu.Lock()
	svc.Dequeue(element)
	s.backend.mu.Unlock()
	select {
	case in := <-w.assigned:
		if in != nil {
			in.releaseSlot()
		}
	default:
	}
}

func (in *instance) releaseSlot() {
	b := in.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	in.InUse--
	if in.deregistered {
		if in.InUse == 0 {
			close(in.idle)
		}
		return
	}
	b.services[in.endpoint.Service].Dispatch()
}

// Serve implements backend.Calls.
func (s *session) Serve(_ context.Context, e backend.Endpoint, h backend.Handler) (backend.Serving, error) {
	in := &instance{
		backend: s.backend, endpoint: e, handler: h, idle: make(chan struct{}), Slots: slots.Slots{Max: e.Concurrency},
	}
	in.ctx, in.cancel = context.WithCancelCause(context.Background())
	b := s.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	b.services.Add(e.Service, in)
	return in, nil
}

// Drain implements backend.Serving. Waiting calls belong to the service, so none has to be moved.
func (in *instance) Drain(ctx context.Context) error {
	in.deregister()
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
	in.deregister()
	in.cancel(cause)
}

// deregister removes the instance from its service. If it was the last one, waiting calls fail.
func (in *instance) deregister() {
	b := in.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	if in.deregistered {
		return
	}
	in.deregistered = true
	if in.InUse == 0 {
		close(in.idle)
	}
	for _, w := range b.services.Remove(in.endpoint.Service, in) {
		w.assigned <- nil
	}
}
