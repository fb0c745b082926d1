package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	defaultTimeout    = 30 * time.Second
	readyFirst        = 2 * time.Millisecond // the first pause of WaitForReady; it doubles up to readyMost
	readyMost         = 100 * time.Millisecond
	maxVersionRetries = 5 // retries of a request if all replies came from one instance, of another version
)

// Invoke makes one call, through the client middleware. See [Caller].
func (a *App) Invoke(ctx context.Context, call Call) (json.RawMessage, error) {
	return a.caller.Invoke(ctx, call)
}

// Call calls a method without a generated client, for tools. args encodes to a JSON object with a member for each
// argument; nil means no arguments. The reply is a JSON object with a member for each result.
//
// If an argument is misspelt, Call returns [ErrInvalidArgument] and sends nothing. An argument is considered misspelt
// if no running instance has an argument of that name and one of the method's arguments is missing. Other unknown
// arguments are ignored, as by a server of an older version.
func (a *App) Call(ctx context.Context, service, method string, args any) (json.RawMessage, error) {
	body := json.RawMessage("{}")
	if args != nil {
		var err error
		if body, err = exact.Marshal(args); err != nil {
			return nil, Errorf(ErrInvalidArgument, "encoding the arguments of %s.%s: %w", service, method, err).
				With(OutcomeNotSent)
		}
		if !bytes.HasPrefix(body, []byte("{")) {
			return nil, Errorf(ErrInvalidArgument, "the arguments of %s.%s must be a JSON object, not %.20q", service, method,
				body).With(OutcomeNotSent)
		}
		if err := a.checkArgs(ctx, service, method, body); err != nil {
			return nil, err
		}
	}
	reply, err := a.Invoke(ctx, Call{Service: service, Method: method, Args: body})
	if err != nil {
		return nil, backend.AsError(err)
	}
	return reply, nil
}

// invoke sends a call. It is the end of the chain of client middleware.
func (a *App) invoke(ctx context.Context, call Call) (json.RawMessage, error) {
	if err := a.checkCall(ctx, call); err != nil {
		return nil, err.With(OutcomeNotSent)
	}
	ctx, cancel := bound(ctx, call.Options)
	defer cancel()
	if ctx.Err() != nil {
		return nil, expired(ctx, call)
	}
	if handlingFrom(ctx) == nil {
		release, err := a.acquire(ctx, call)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	reply, err := a.sendWithRetries(ctx, &backend.Request{
		Service:     call.Service,
		Method:      call.Method,
		ID:          a.callID(),
		Caller:      a.instance.ID,
		Fingerprint: call.Fingerprint,
		Metadata:    outgoing(ctx),
		Headers:     traced(ctx, call.Headers),
		Body:        call.Args,
	}, call.Options)
	if err != nil {
		return nil, err
	}
	return reply.Body, nil
}

// callID returns the id of a new call.
func (a *App) callID() string { return a.instance.ID + "-" + strconv.FormatUint(a.called.Add(1), 36) }

// checkCall returns an error if a call can't be sent.
func (a *App) checkCall(ctx context.Context, call Call) *Error {
	if err := a.admit(); err != nil {
		return err
	}
	if call.Service == "" || call.Method == "" {
		return Errorf(ErrInvalidArgument, "a call needs a service and a method, not %q and %q", call.Service, call.Method)
	}
	if len(call.Args) > backend.MaxMessage {
		return Errorf(ErrResourceExhausted, "the arguments of %s.%s are %d bytes; at most %d are allowed",
			call.Service, call.Method, len(call.Args), backend.MaxMessage)
	}
	return checkMetadata(outgoing(ctx), call.Headers)
}

// bound returns ctx with the deadline of a call: the earlier of its own and Timeout, or the default if there is
// neither.
func bound(ctx context.Context, o CallOptions) (context.Context, context.CancelFunc) {
	timeout := o.Timeout
	if _, ok := ctx.Deadline(); !ok && timeout == 0 {
		timeout = o.DefaultTimeout
		if timeout <= 0 {
			timeout = defaultTimeout
		}
	}
	if timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}

// acquire waits until MaxInFlight allows the call. The caller must call release.
func (a *App) acquire(ctx context.Context, call Call) (release func(), err error) {
	size := min(int64(len(call.Args)), a.settings.maxPending)
	if a.inFlight.Acquire(ctx, 1) == nil {
		if a.pending.Acquire(ctx, size) == nil {
			return func() { a.pending.Release(size); a.inFlight.Release(1) }, nil
		}
		a.inFlight.Release(1)
	}
	return nil, Errorf(CodeOf(ctx.Err()), "calling %s.%s: too many calls in flight: %w", call.Service, call.Method,
		context.Cause(ctx)).With(OutcomeNotSent)
}

// sendWithRetries sends a request, retries it where that is safe or requested, and returns a successful reply.
func (a *App) sendWithRetries(ctx context.Context, req *backend.Request, o CallOptions) (*backend.Reply, error) {
	began := time.Now()
	pause, retries := readyFirst, 0
	var mismatches int    // replies of an instance of another version
	var mismatched string // id of that instance
	for {
		deadline, _ := ctx.Deadline()
		req.Timeout = time.Until(deadline)
		reply, err := a.ports.Calls.Call(ctx, req)
		if err == nil && reply.Err == nil {
			return reply, nil
		}
		if err == nil {
			err = reply.Err
		}
		err = a.located(err)
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
			if time.Since(began) >= waitUntold && errors.Is(err, backend.ErrNoInstance) {
				a.warnWaiting("service", req.Service, "method", req.Method)
			}
		case retries < retry.Tries && repeatable(err, o):
			wait = rand.N(retry.Base << retries)
			retries++
		default:
			return nil, backend.AsError(err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, timedOut(ctx, req, err)
		}
		// Copy the request: the transport may still be reading the one that was sent.
		again := *req
		req = &again
	}
}

// timedOut returns the error of a call that timed out between two attempts. Its outcome is that of the last attempt.
func timedOut(ctx context.Context, req *backend.Request, last error) *Error {
	o := OutcomeUnknown
	if e, ok := errors.AsType[*Error](last); ok {
		o = e.Outcome
	}
	return Errorf(CodeOf(ctx.Err()), "calling %s.%s: %w; last attempt: %w", req.Service, req.Method,
		context.Cause(ctx), last).With(o)
}

// otherVersion reports whether an instance refused a request because it has another version of the method.
func otherVersion(err *Error) bool {
	return err != nil && err.Code == ErrFailedPrecondition && err.Outcome == OutcomeNotSent
}

// notReady reports whether no instance could accept the request now.
func notReady(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == ErrUnavailable && e.Outcome == OutcomeNotSent
}

// repeatable reports whether the request can be sent again: either it was not begun although instances are running, or
// it is idempotent and its outcome is unknown.
func repeatable(err error, o CallOptions) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != ErrUnavailable {
		return false
	}
	switch e.Outcome {
	case OutcomeNotSent:
		return !errors.Is(err, backend.ErrNoInstance) && !errors.Is(err, backend.ErrServerDown)
	case OutcomeUnknown:
		return o.Idempotent
	}
	return false
}
