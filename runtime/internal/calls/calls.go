// Package calls sends the calls of an App: it limits how many are in flight, and retries those that may be repeated.
package calls

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/hooks"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	readyFirst        = 2 * time.Millisecond // the first pause of WaitForReady; it doubles up to readyMost
	readyMost         = 100 * time.Millisecond
	maxVersionRetries = 5 // retries of a request if all replies came from one instance, of another version
)

// A Limit limits the calls in flight and the bytes of their arguments. It is safe for concurrent use.
type Limit struct {
	inFlight, pending *semaphore.Weighted
	maxPending        int64
}

// NewLimit returns a Limit.
func NewLimit(calls, bytes int64) *Limit {
	return &Limit{semaphore.NewWeighted(calls), semaphore.NewWeighted(bytes), bytes}
}

// Acquire waits until the limit allows a call with arguments of a size in bytes. The caller must call release. ok is
// false if ctx ends first.
func (l *Limit) Acquire(ctx context.Context, bytes int) (release func(), ok bool) {
	size := min(int64(bytes), l.maxPending)
	if l.inFlight.Acquire(ctx, 1) == nil {
		if l.pending.Acquire(ctx, size) == nil {
			return func() { l.pending.Release(size); l.inFlight.Release(1) }, true
		}
		l.inFlight.Release(1)
	}
	return nil, false
}

// Check returns an error if a request can't be sent.
func Check(req *backend.Request) error {
	if req.Service == "" || req.Method == "" {
		return refusal(backend.ErrInvalidArgument, "a call needs a service and a method, not %q and %q", req.Service,
			req.Method)
	}
	if len(req.Body) > backend.MaxMessage {
		return refusal(backend.ErrResourceExhausted, "the arguments of %s.%s are %d bytes; at most %d are allowed",
			req.Service, req.Method, len(req.Body), backend.MaxMessage)
	}
	size := 0
	for _, md := range []map[string]string{req.Metadata, req.Headers} {
		for name, value := range md {
			if name == "" {
				return refusal(backend.ErrInvalidArgument, "metadata with an empty name")
			}
			size += len(name) + len(value)
		}
	}
	if size > backend.MaxMetadata {
		return refusal(backend.ErrResourceExhausted, "the metadata is %d bytes; at most %d are allowed", size,
			backend.MaxMetadata)
	}
	return nil
}

func refusal(code backend.Code, format string, args ...any) error {
	return backend.Errorf(code, format, args...).With(backend.OutcomeNotSent)
}

// Expired returns the error of a call whose context has ended before it was sent.
func Expired(ctx context.Context, service, method string) *backend.Error {
	return backend.Errorf(backend.CodeOf(ctx.Err()), "calling %s.%s: %w", service, method, context.Cause(ctx)).
		With(backend.OutcomeNotSent)
}

// defaultTimeout is the timeout of a call without one.
const defaultTimeout = 30 * time.Second

// Bound returns ctx with the deadline of a call: the earlier of its own and timeout, or after usual if there is
// neither. 0 means no timeout, and for usual 30 s.
func Bound(ctx context.Context, timeout, usual time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); !ok && timeout == 0 {
		timeout = usual
		if timeout <= 0 {
			timeout = defaultTimeout
		}
	}
	if timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}

// A Sender sends requests. It is safe for concurrent use.
type Sender struct {
	Calls    backend.Calls
	Location func() string // where instances are looked for, as the end of the error of a call without one

	// WaitsLong is called when a request has waited for an instance for WaitUntold, and again until it is sent.
	WaitUntold time.Duration
	WaitsLong  func(*backend.Request)
}

// Options are options of a request.
type Options struct {
	Idempotent   bool // it may be repeated if its outcome is unknown
	WaitForReady bool // wait for an instance if none is running
}

// Send sends a request, retries it where that is safe or requested, and returns the reply. With an error the reply only
// has the instance that has answered, if any. tries is how often the request was sent. After a try with an unknown
// outcome, a later one that wasn't sent doesn't make the outcome known.
func (s *Sender) Send(ctx context.Context, req *backend.Request, o Options) (_ backend.Reply, tries int, _ error) {
	began := time.Now()
	pause, retries := readyFirst, 0
	var mismatches int    // replies of an instance of another version
	var mismatched string // id of that instance
	unknown := false      // a try may have been handled
	for {
		deadline, _ := ctx.Deadline()
		req.Timeout = time.Until(deadline)
		reply, err := s.Calls.Call(ctx, req)
		tries++
		if err == nil && reply.Err == nil {
			return *reply, tries, nil
		}
		if err == nil {
			err = reply.Err
		}
		err = s.located(err)
		begun := unknown
		unknown = unknown || backend.Coded(err).Outcome == backend.OutcomeUnknown
		var wait time.Duration
		switch {
		case reply != nil && otherVersion(reply.Err) && mismatches < maxVersionRetries &&
			(mismatched == "" || mismatched == reply.Server):
			// Another instance may have the caller's version. The transport chooses the instance, so retry while it
			// chooses the same one.
			wait = rand.N(time.Millisecond << mismatches)
			mismatched = reply.Server
			mismatches++
		case o.WaitForReady && notReady(err):
			wait = pause
			pause = min(2*pause, readyMost)
			if time.Since(began) >= s.WaitUntold && errors.Is(err, backend.ErrNoInstance) {
				s.WaitsLong(req)
			}
		case retries < retry.Tries && repeatable(err, o):
			wait = rand.N(retry.Base << retries)
			retries++
		default:
			return failed(reply), tries, settled(err, begun)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return failed(reply), tries, settled(timedOut(ctx, req, err), begun)
		}
		// Copy the request: the transport may still be reading the one that was sent.
		again := *req
		req = &again
	}
}

// settled returns the error of a request, given that of its last try and whether an earlier one may have been handled.
func settled(last error, begun bool) error {
	e := backend.Coded(last)
	if !begun || e.Outcome != backend.OutcomeNotSent {
		return backend.AsError(last)
	}
	with := *e // it may be shared
	return with.With(backend.OutcomeUnknown)
}

// failed returns what Send returns of a reply, which may be nil, with an error.
func failed(reply *backend.Reply) (r backend.Reply) {
	if reply != nil {
		r.Server = reply.Server
	}
	return r
}

// Observe ends the observation of a call with what Send has returned.
func Observe(h *hooks.Set, end func(instrument.End), reply *backend.Reply, tries int, err error) {
	e := instrument.End{Err: err, Tries: tries, Server: reply.Server, Size: len(reply.Body)}
	if failure, ok := errors.AsType[*backend.Error](err); ok {
		e.Outcome = failure.Outcome
	}
	h.End(end, e)
}

// located adds the location to the error of a call to a service without instances.
func (s *Sender) located(err error) error {
	e, ok := errors.AsType[*backend.Error](err)
	if !ok || !errors.Is(err, backend.ErrNoInstance) {
		return err
	}
	with := *e // err may be shared
	with.Message += s.Location()
	return &with
}

// timedOut returns the error of a call that timed out between two attempts. Its outcome is that of the last attempt.
func timedOut(ctx context.Context, req *backend.Request, last error) *backend.Error {
	o := backend.OutcomeUnknown
	if e, ok := errors.AsType[*backend.Error](last); ok {
		o = e.Outcome
	}
	return backend.Errorf(backend.CodeOf(ctx.Err()), "calling %s.%s: %w; last attempt: %w", req.Service, req.Method,
		context.Cause(ctx), last).With(o)
}

// otherVersion reports whether an instance refused a request because it has another version of the method.
func otherVersion(err *backend.Error) bool {
	return err != nil && err.Code == backend.ErrFailedPrecondition && err.Outcome == backend.OutcomeNotSent
}

// notReady reports whether no instance could accept the request now.
func notReady(err error) bool {
	e, ok := errors.AsType[*backend.Error](err)
	return ok && e.Code == backend.ErrUnavailable && e.Outcome == backend.OutcomeNotSent
}

// repeatable reports whether the request can be sent again: either it was not begun although instances are running, or
// it is idempotent and its outcome is unknown.
func repeatable(err error, o Options) bool {
	e, ok := errors.AsType[*backend.Error](err)
	if !ok || e.Code != backend.ErrUnavailable {
		return false
	}
	switch e.Outcome {
	case backend.OutcomeNotSent:
		return !errors.Is(err, backend.ErrNoInstance) && !errors.Is(err, backend.ErrServerDown)
	case backend.OutcomeUnknown:
		return o.Idempotent
	}
	return false
}
