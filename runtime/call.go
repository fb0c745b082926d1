package runtime

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
)

// A Caller makes calls. [App] implements it. [ClientMiddleware] wraps a Caller in another.
type Caller interface {
	// Invoke makes one call and returns the results: a JSON object with a member for each. Its error is an *Error, or
	// wraps one.
	Invoke(ctx context.Context, call Call) (json.RawMessage, error)
}

// A CallerFunc is a function that implements [Caller].
type CallerFunc func(ctx context.Context, call Call) (json.RawMessage, error)

// Invoke calls f.
func (f CallerFunc) Invoke(ctx context.Context, call Call) (json.RawMessage, error) {
	return f(ctx, call)
}

// A Call describes one call. Client middleware sees it.
type Call struct {
	Service string
	Method  string
	// Args is a JSON object with a member for each argument. It must not be modified.
	Args json.RawMessage
	// Fingerprint identifies the caller's version of the method's contract; "" if the caller does not know it.
	Fingerprint string
	// Headers are for middleware: traceparent, tracestate, baggage. They travel with the call. Together with the
	// context's metadata they have at most 8 kB. Middleware that adds a header must copy the map.
	Headers map[string]string
	Options CallOptions
}

// CallOptions are the options of a [Call].
type CallOptions struct {
	// Timeout limits the call, in addition to its context's deadline. 0 means no limit, and a negative Timeout has
	// expired.
	Timeout time.Duration
	// DefaultTimeout limits a call that has neither a Timeout nor a context with a deadline; 0 means 30 s.
	DefaultTimeout time.Duration
	// Idempotent allows the client to repeat the call if its outcome is unknown.
	Idempotent bool
	// WaitForReady makes the call wait for an instance if none is running.
	WaitForReady bool
}

// A CallOption changes how a client makes its calls.
type CallOption interface{ applyCall(*CallOptions) }

type waitForReady struct{}

func (waitForReady) applyCall(o *CallOptions) { o.WaitForReady = true }

// WaitForReady makes calls wait until their deadline if no instance of the service is running. Without it such calls
// fail at once with [ErrUnavailable].
func WaitForReady() CallOption { return waitForReady{} }

// A TimeoutOption is a [CallOption], a [SubmitOption], a [SubtaskOption], a [JobOption] and a [WorkerOption]: see
// [Timeout].
type TimeoutOption time.Duration

// Timeout limits each call of a client to d, or less if the context's deadline is earlier. As an option of a task or a
// job it limits each attempt. With 0 the limit of the method or the worker applies. A negative d, such as time.Until of
// a past time, has expired: calls and attempts end with [ErrDeadlineExceeded] before they begin.
//
// As an option of a worker it limits the attempts of tasks without a limit of their own. d is then from 0, which is no
// limit, to 30 days.
func Timeout(d time.Duration) TimeoutOption { return TimeoutOption(d) }

func (t TimeoutOption) applyCall(o *CallOptions) { o.Timeout = time.Duration(t) }

// A Client is a [Caller] with the options of its calls. Generated clients contain one.
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

// A Method describes a method of a service to both sides of a call. A and R are structs of its arguments and results.
// Generated code declares one for each method. It must not be modified.
type Method[A, R any] struct {
	Service     string
	Name        string
	Signature   string
	Timeout     time.Duration
	Idempotent  bool
	Fingerprint string
	Doc         string // for people; more than 1 KiB is cut
}

// Call calls the method. Its error is an *Error, or wraps one.
func (m *Method[A, R]) Call(ctx context.Context, c Client, args A) (R, error) {
	var reply, zero R
	if c.caller == nil {
		return zero, Errorf(ErrFailedPrecondition, "calling %s.%s: the client has no Caller; create it with its New function",
			m.Service, m.Name).With(OutcomeNotSent)
	}
	body, err := exact.Marshal(&args)
	if err != nil {
		return zero, Errorf(ErrInvalidArgument, "encoding the arguments of %s.%s: %w", m.Service, m.Name, err).
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
		return zero, Errorf(ErrInternal, "decoding the reply of %s.%s: %w", m.Service, m.Name, err).
			With(OutcomeAnswered)
	}
	return reply, nil
}

// info describes the method to the registry.
func (m *Method[A, R]) info() backend.MethodInfo {
	return backend.MethodInfo{
		Name: m.Name, Signature: m.Signature, Fingerprint: m.Fingerprint, Idempotent: m.Idempotent, Doc: m.Doc,
	}
}
