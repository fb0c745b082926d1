package backend

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Calls carries calls between Apps. Inside one process and across machines it is the same: arguments and results are
// always encoded.
type Calls interface {
	// Call brings req to one instance of req.Service and waits for the reply. While all instances are busy it waits for
	// one.
	//
	// A nil error means that an instance answered; the answer may well be an error, in Reply.Err. An error means that
	// there is no answer, and its Outcome says whether the request may have been handled: a service without an instance
	// is ErrUnavailable, not sent, at once, and wraps ErrNoInstance. When ctx ends Call returns at once, and the handler's
	// context is cancelled as soon as the news reaches it.
	Call(ctx context.Context, req *Request) (*Reply, error)

	// Serve makes this instance answer the calls to e.Service: h is called for each request, at most e.Concurrency at
	// once. ctx bounds the starting only. A nil error means that calls made from now on find the instance.
	Serve(ctx context.Context, e Endpoint, h Handler) (Serving, error)
}

// ErrNoInstance is wrapped by the error of a Call for whose service there is no instance.
var ErrNoInstance = errors.New("no instance")

// NoInstance returns the error for a call to a service that has no instance.
func NoInstance(service string) *Error {
	return Errorf(ErrUnavailable, "%w of service %q is running", ErrNoInstance, service).With(OutcomeNotSent)
}

// A Handler answers one request. It calls reply exactly once before its goroutine ends, whatever user code does: also
// when that panics or calls runtime.Goexit. So an adapter calls it on a goroutine that may end, and frees what belongs
// to the request in a deferred call.
//
// ctx carries no values; it ends at the request's deadline, when the caller gave up, or when the Serving is closed, with
// a cause that says which.
type Handler func(ctx context.Context, req *Request, reply func(*Reply))

// An Endpoint is a service as one instance offers it.
type Endpoint struct {
	Service     string
	Instance    Instance
	Concurrency int          // calls at once; > 0
	Methods     []MethodInfo // for the registry; sorted by name
}

// A MethodInfo describes a remote method.
type MethodInfo struct {
	Name        string `json:"name"`
	Signature   string `json:"signature"` // parameters and results with their Go types
	Fingerprint string `json:"fingerprint"`
	Idempotent  bool   `json:"idempotent,omitempty"`
}

// A Serving is a service being served by this instance.
type Serving interface {
	// Drain takes no more calls, leaves those not begun to another instance (or answers them as unavailable, not sent)
	// and waits for those that run. A nil error means that nothing runs any more. When ctx ends first the error says how
	// many do; Drain may be called again to go on waiting.
	Drain(ctx context.Context) error
	// Close cancels the contexts of the calls that still run, with cause, and takes no more calls. It doesn't wait.
	Close(cause error)
}

// MaxMessage is the largest body of a request or reply, in bytes. Both sides check it.
const MaxMessage = 4 << 20

// MaxMetadata is the largest sum of a request's metadata and headers, names and values together, in bytes.
const MaxMetadata = 8 << 10

// A Request is the envelope of a call. Receivers must not modify it.
type Request struct {
	Service string
	Method  string
	// ID stays the same over the retries of one call.
	ID string
	// Caller is the instance that calls.
	Caller string
	// Timeout is the time left. It is relative so that no two clocks are compared.
	Timeout time.Duration
	// Fingerprint is that of the method's contract at the caller; "" where it knows none.
	Fingerprint string
	// Metadata is the user's. Headers belong to middleware: traceparent, tracestate, baggage.
	Metadata map[string]string
	Headers  map[string]string
	// Body is a JSON object with a member for each argument.
	Body json.RawMessage
	// Redelivered says that an instance may have begun to handle this request before.
	Redelivered bool
}

// A Reply is the answer to a Request.
type Reply struct {
	// Err is the handler's error, with OutcomeAnswered, or the instance's refusal to begin: OutcomeNotSent where it is
	// draining, or has another version of the method (ErrFailedPrecondition), OutcomeUnknown for a redelivered request that
	// must not be repeated.
	Err *Error
	// Body is a JSON object with a member for each result; empty with an Err.
	Body json.RawMessage
	// Server is the instance that answered.
	Server string
}
