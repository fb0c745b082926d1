package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/calls"
	"github.com/afgen/afgen/runtime/internal/exact"
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
		if c, err := a.active(); err == nil { // otherwise Invoke returns the error
			if err := c.registry.CheckArgs(ctx, service, method, body); err != nil {
				return nil, err
			}
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
	h := a.hooks
	if h == nil {
		reply, _, err := a.sendCall(ctx, call)
		return reply.Body, err
	}
	ctx, end := h.Call(ctx, instrument.Start{Service: call.Service, Method: call.Method, Size: len(call.Args)})
	reply, tries, err := a.sendCall(ctx, call)
	calls.Observe(h, end, &reply, tries, err)
	return reply.Body, err
}

// sendCall sends a call. With an error the reply has no Body. tries is how often it was sent.
func (a *App) sendCall(ctx context.Context, call Call) (reply backend.Reply, tries int, err error) {
	if err := a.admit(); err != nil {
		return reply, 0, err
	}
	req := &backend.Request{
		Service:     call.Service,
		Method:      call.Method,
		Caller:      a.instance.ID,
		Fingerprint: call.Fingerprint,
		Metadata:    outgoing(ctx),
		Headers:     call.Headers,
		Body:        call.Args,
	}
	if err := calls.Check(req); err != nil {
		return reply, 0, err
	}
	ctx, cancel := bound(ctx, call.Options)
	defer cancel()
	if ctx.Err() != nil {
		return reply, 0, calls.Expired(ctx, call.Service, call.Method)
	}
	if handlingFrom(ctx) == nil {
		release, ok := a.inFlight.Acquire(ctx, len(call.Args))
		if !ok {
			return reply, 0, Errorf(CodeOf(ctx.Err()), "calling %s.%s: too many calls in flight: %w", call.Service, call.Method,
				context.Cause(ctx)).With(OutcomeNotSent)
		}
		defer release()
	}
	req.ID, req.Headers = a.callID(), a.hooks.Headers(ctx, call.Headers, req.Metadata, TraceFrom)
	return a.sender.Send(ctx, req, calls.Options{
		Idempotent: call.Options.Idempotent, WaitForReady: call.Options.WaitForReady,
	})
}

// callID returns the id of a new call.
func (a *App) callID() string { return a.instance.ID + "-" + strconv.FormatUint(a.called.Add(1), 36) }

// bound returns ctx with the deadline of a call.
func bound(ctx context.Context, o CallOptions) (context.Context, context.CancelFunc) {
	return calls.Bound(ctx, o.Timeout, o.DefaultTimeout)
}

// newSender returns what sends the App's calls.
func (a *App) newSender(ports *backend.Ports) calls.Sender {
	return calls.Sender{
		Calls: ports.Calls, Location: a.location, WaitUntold: waitUntold,
		WaitsLong: func(req *backend.Request) { a.warnWaiting("service", req.Service, "method", req.Method) },
	}
}
