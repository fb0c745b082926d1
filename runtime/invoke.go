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
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	defaultTimeout = 30 * time.Second
	readyFirst     = 2 * time.Millisecond // WaitForReady looks again after this, doubling
	readyMost      = 100 * time.Millisecond
	maxMisfits     = 5 // repeats of a request that has met only one instance, of another version
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
		if body, err = encode(args); err != nil {
			return nil, Errorf(ErrInvalidArgument, "encoding the arguments of %s.%s: %w", service, method, err).
				With(OutcomeNotSent)
		}
		if !bytes.HasPrefix(body, []byte("{")) {
			return nil, Errorf(ErrInvalidArgument, "the arguments of %s.%s must be a JSON object with a member for each, not %.20q",
				service, method, body).With(OutcomeNotSent)
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

// invoke is the end of the client middleware's chain.
func (a *App) invoke(ctx context.Context, call Call) (json.RawMessage, error) {
	if err := a.check(ctx, call); err != nil {
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
	reply, err := a.carry(ctx, &backend.Request{
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

// callID returns an id for one call.
func (a *App) callID() string { return a.instance.ID + "-" + strconv.FormatUint(a.called.Add(1), 36) }

// check returns what keeps a call from being made at all.
func (a *App) check(ctx context.Context, call Call) *Error {
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

// bound gives ctx the deadline of a call: the earlier of its own and Timeout; the default where there is neither.
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

// acquire waits for a place among the calls in flight and returns what gives it back.
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

// carry sends the request, again where that is safe and asked for, and returns an answer that is not an error.
func (a *App) carry(ctx context.Context, req *backend.Request, o CallOptions) (*backend.Reply, error) {
	pause, retries := readyFirst, 0
	var misfits int // instances of another version that the request has met
	var misfit string
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
		var wait time.Duration
		switch {
		case reply != nil && otherVersion(reply.Err) && misfits < maxMisfits && (misfit == "" || misfit == reply.Server):
			// Another instance may have the caller's version. Whose turn it is at the transport is not ours to say: so
			// once more for each time that it is the same one's.
			wait = rand.N(time.Millisecond << misfits)
			misfit = reply.Server
			misfits++
		case o.WaitForReady && notReady(err):
			wait = pause
			pause = min(2*pause, readyMost)
		case retries < retry.Tries && repeatable(err, o):
			wait = rand.N(retry.Base << retries)
			retries++
		default:
			return nil, backend.AsError(err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, gaveUp(ctx, req, err)
		}
		// A copy: the one that was sent may still be read.
		again := *req
		req = &again
	}
}

// gaveUp is the error of a call whose time ended between two attempts; the last one says whether it was sent.
func gaveUp(ctx context.Context, req *backend.Request, last error) *Error {
	o := OutcomeUnknown
	if e, ok := errors.AsType[*Error](last); ok {
		o = e.Outcome
	}
	return Errorf(CodeOf(ctx.Err()), "calling %s.%s: %w; last attempt: %w", req.Service, req.Method,
		context.Cause(ctx), last).With(o)
}

// otherVersion reports whether an instance has refused a request since it has another version of the method.
func otherVersion(err *Error) bool {
	return err != nil && err.Code == ErrFailedPrecondition && err.Outcome == OutcomeNotSent
}

// notReady says that nobody could take the request now.
func notReady(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == ErrUnavailable && e.Outcome == OutcomeNotSent
}

// repeatable says that the request may be sent again: it was not begun, though there are instances, or it is idempotent
// and its outcome unknown.
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
