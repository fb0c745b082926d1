package runtime

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
)

// A Caller makes calls. The App is one, and client middleware wraps one in another.
type Caller interface {
	// Invoke makes one call and returns the reply's body: a JSON object with a member for each result. Its error is an
	// *Error, or wraps one.
	Invoke(ctx context.Context, call Call) (json.RawMessage, error)
}

// CallerFunc is a function that is a [Caller].
type CallerFunc func(ctx context.Context, call Call) (json.RawMessage, error)

// Invoke calls f.
func (f CallerFunc) Invoke(ctx context.Context, call Call) (json.RawMessage, error) {
	return f(ctx, call)
}

// A Call is one call as plain data.
type Call struct {
	Service string
	Method  string
	// Args is a JSON object with a member for each argument. It must not be modified.
	Args json.RawMessage
	// Fingerprint is that of the method's contract as the caller knows it; "" where it knows none.
	Fingerprint string
	// Headers travel in the envelope, for middleware: traceparent, tracestate, baggage. With the context's metadata they
	// may have 8 kB. Middleware that adds one must copy the map.
	Headers map[string]string
	Options CallOptions
}

// CallOptions is how a Call is to be made.
type CallOptions struct {
	// Timeout bounds the call, in addition to its context's deadline; 0 bounds nothing. If it is negative, the time has passed already.
	Timeout time.Duration
	// DefaultTimeout bounds it where neither Timeout nor the context do; 0 is 30 s.
	DefaultTimeout time.Duration
	// Idempotent lets the client repeat the call when its outcome is unknown.
	Idempotent bool
	// WaitForReady makes the call wait for an instance where there is none.
	WaitForReady bool
}

// A CallOption changes how the calls of one client are made.
type CallOption interface{ applyCall(*CallOptions) }

type waitForReady struct{}

func (waitForReady) applyCall(o *CallOptions) { o.WaitForReady = true }

// WaitForReady makes calls wait, until their deadline, for an instance of the service, where they would otherwise fail
// at once as unavailable.
func WaitForReady() CallOption { return waitForReady{} }

// A TimeoutOption is what [Timeout] returns: it fits wherever options of calls or of tasks are taken.
type TimeoutOption time.Duration

// Timeout bounds each call of a client: its deadline is this, counted from the call, or the context's if that is
// earlier. As an option of a task or a job it bounds each attempt. 0 bounds nothing. Less than zero, such as
// Timeout(time.Until(t)) after t, is a deadline that has passed: calls and attempts end as ErrDeadlineExceeded before they begin.
func Timeout(d time.Duration) TimeoutOption { return TimeoutOption(d) }

func (t TimeoutOption) applyCall(o *CallOptions) { o.Timeout = time.Duration(t) }

// A Client is what a generated client stands on: a Caller and the options of its calls.
type Client struct {
	caller  Caller
	options CallOptions
}

// NewClient returns a Client. Generated code calls it.
func NewClient(c Caller, opts ...CallOption) Client {
	client := Client{caller: c}
	for _, o := range opts {
		if o != nil {
			o.applyCall(&client.options)
		}
	}
	return client
}

// A Method is a remote method as both sides know it; A and R are the structs of its arguments and results. Generated
// code declares one for each method. It must not be changed.
type Method[A, R any] struct {
	Service     string
	Name        string
	Signature   string
	Timeout     time.Duration
	Idempotent  bool
	Fingerprint string
}

// Call calls the method. The reply is zero with an error, which is an *Error or wraps one.
func (m *Method[A, R]) Call(ctx context.Context, c Client, args A) (R, error) {
	var reply, zero R
	if c.caller == nil {
		return zero, Errorf(ErrFailedPrecondition, "calling %s.%s: the client has no Caller; make it with its New function",
			m.Service, m.Name).With(OutcomeNotSent)
	}
	body, err := encode(&args)
	if err != nil {
		return zero, Errorf(ErrInvalidArgument, "the arguments of %s.%s do not encode: %w", m.Service, m.Name, err).
			With(OutcomeNotSent)
	}
	call := Call{Service: m.Service, Method: m.Name, Args: body, Fingerprint: m.Fingerprint, Options: c.options}
	call.Options.DefaultTimeout = m.Timeout
	call.Options.Idempotent = m.Idempotent
	body, err = c.caller.Invoke(ctx, call)
	if err != nil {
		return zero, backend.AsError(err)
	}
	if err := exact.Unmarshal(body, &reply); err != nil {
		return zero, Errorf(ErrInternal, "the reply of %s.%s does not decode: %w", m.Service, m.Name, err).
			With(OutcomeAnswered)
	}
	return reply, nil
}

// info describes the method to the registry.
func (m *Method[A, R]) info() backend.MethodInfo {
	return backend.MethodInfo{Name: m.Name, Signature: m.Signature, Fingerprint: m.Fingerprint, Idempotent: m.Idempotent}
}
