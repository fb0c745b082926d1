package backend

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Calls sends calls between Apps, in one process or across machines. Arguments and results are always encoded.
type Calls interface {
	// Call sends req to one instance of req.Service and returns the reply. It blocks while all instances are busy.
	//
	// A nil error means that an instance answered; the answer may be an error, in Reply.Err. An error means that there is
	// no answer, and its Outcome states whether the request may have been handled. If the service has no instance, Call
	// fails at once with ErrUnavailable and OutcomeNotSent, and the error wraps ErrNoInstance. When ctx ends, Call returns
	// at once and the context of the handler is cancelled as soon as the cancellation reaches it.
	Call(ctx context.Context, req *Request) (*Reply, error)

	// Serve handles calls to e.Service with h, at most e.Concurrency at once. ctx bounds only Serve itself. A nil error
	// means that calls made from now on find this instance.
	Serve(ctx context.Context, e Endpoint, h Handler) (Serving, error)
}

// ErrNoInstance is wrapped by the error of a Call to a service without instances.
var ErrNoInstance = errors.New("no instance")

// NoInstance returns the error of a Call to a service without instances.
func NoInstance(service string) *Error {
	return Errorf(ErrUnavailable, "%w of service %q is running", ErrNoInstance, service).With(OutcomeNotSent)
}

// A Handler handles one request. It calls reply exactly once before its goroutine ends, even if user code panics or
// calls runtime.Goexit. Adapters must call it on its own goroutine and release the request's resources in a deferred
// call.
//
// ctx carries no values. It ends at the request's deadline, when the caller stops waiting, or when the Serving is
// closed; its cause tells which.
type Handler func(ctx context.Context, req *Request, reply func(*Reply))

// An Endpoint is a service as offered by one instance.
type Endpoint struct {
	Service     string
	Instance    Instance
	Concurrency int          // maximum number of concurrent calls, > 0
	Methods     []MethodInfo // for the registry; sorted by name
}

// A MethodInfo describes a remote method.
type MethodInfo struct {
	Name        string `json:"name"`
	Signature   string `json:"signature"` // parameters and results, with Go types
	Fingerprint string `json:"fingerprint"`
	Idempotent  bool   `json:"idempotent,omitempty"`
	Doc         string `json:"doc,omitempty"` // at most MaxDoc bytes
}

// MaxDoc is the limit of the documentation of a service or a method, in bytes. More is cut.
const MaxDoc = 1 << 10

// A Serving is a service that this instance serves.
type Serving interface {
	// Drain stops accepting calls, leaves calls that have not started to other instances (or fails them as unavailable,
	// not sent), and waits for running calls. A nil error means that no call is running. If ctx ends first, the error
	// states how many calls are running, and Drain may be called again.
	Drain(ctx context.Context) error
	// Close stops accepting calls and cancels the contexts of running calls with cause. It doesn't wait for them.
	Close(cause error)
}

// MaxMessage is the limit of the body of a request or reply, in bytes. Both sides check it.
const MaxMessage = 4 << 20

// MaxMetadata is the limit of metadata, names and values together, in bytes. The headers of a request count, too.
const MaxMetadata = 8 << 10

// A Request is the envelope of a call. Receivers must not modify it.
type Request struct {
	Service string
	Method  string
	// ID identifies the call. Retries of a call have the same ID.
	ID string
	// Caller is the id of the calling instance.
	Caller string
	// Timeout is the remaining time. It is relative, so that clocks need not agree.
	Timeout time.Duration
	// Fingerprint is that of the method's contract at the caller; "" if unknown.
	Fingerprint string
	// Metadata is set by the user. Headers are set by middleware: traceparent, tracestate, baggage.
	Metadata map[string]string
	Headers  map[string]string
	// Body is a JSON object with one member per argument.
	Body json.RawMessage
	// Redelivered reports that another instance may have started to handle this request.
	Redelivered bool
}

// A Reply is the answer to a Request.
type Reply struct {
	// Err is the handler's error, with OutcomeAnswered, or the instance's refusal. A refusal has OutcomeNotSent if the
	// instance is draining or has another version of the method (ErrFailedPrecondition), and OutcomeUnknown for a
	// redelivered request that must not be repeated.
	Err *Error
	// Body is a JSON object with one member per result; empty if Err is set.
	Body json.RawMessage
	// Server is the id of the instance that answered.
	Server string
}
