package runtime

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
	"github.com/afgen/afgen/runtime/internal/registration"
	"github.com/afgen/afgen/runtime/internal/serve"
)

// Generated1 is the version of generated code that this runtime supports. Each generated file refers to the version
// that it was written for, so that a mismatch fails the build.
const Generated1 = true

// A Registrar accepts services and workers. [App] implements it.
type Registrar interface {
	// AddService registers a service. Start returns errors in the registration.
	AddService(ServiceSpec)

	// AddWorker registers a worker. Start returns errors in the registration.
	AddWorker(WorkerSpec)
}

// A Service describes a service, except for its methods. Generated code declares one for each service.
type Service struct {
	Name        string
	Type        string // its Go type
	Concurrency int    // calls handled at once by each instance
}

// A ServiceSpec is a service that a [Registrar] can serve. If Err is set, the App's Start returns it.
type ServiceSpec struct {
	Service
	Package string       // import path of the Go type, for errors
	Methods []MethodSpec // sorted by name
	Err     error
}

// A MethodSpec is a method of a [ServiceSpec].
type MethodSpec struct {
	Info    backend.MethodInfo
	Handler Handler
	// Args has the names of the arguments as JSON members; nil if they are unknown. App.Call rejects misspelt names.
	Args []string
}

// A Request is a call as the server receives it; [ServerMiddleware] sees it. It must not be modified. Its fields:
//
//	Service     string            // name of the service
//	Method      string            // name of the method
//	ID          string            // of the call; retries of a call have the same ID
//	Caller      string            // id of the calling instance
//	Timeout     time.Duration     // time left until the caller's deadline when the call was sent
//	Fingerprint string            // of the method's contract at the caller; "" if the caller does not know it
//	Metadata    map[string]string // as set by the caller with WithMetadata; MetadataFrom returns it
//	Headers     map[string]string // set by client middleware: traceparent, tracestate, baggage
//	Body        json.RawMessage   // the arguments: a JSON object with a member for each
//	Redelivered bool              // another instance may have begun to handle it
type Request = backend.Request

// A Handler handles a request: it decodes the arguments in req.Body, calls the method and returns the encoded results.
// [ServerMiddleware] wraps a Handler in another.
type Handler func(ctx context.Context, req *Request) (json.RawMessage, error)

// A Binding is a method with the function that calls it on a *T. [Bind] creates one.
type Binding[T any] struct {
	info backend.MethodInfo
	args []string
	to   func(impl *T) Handler
}

// Bind returns a Binding of a method and the function that calls it. Generated code calls it.
func Bind[T, A, R any](m *Method[A, R], call func(ctx context.Context, impl *T, args A) (R, error)) Binding[T] {
	return Binding[T]{m.info(), registration.ArgNames(reflect.TypeFor[A]()), func(impl *T) Handler {
		return func(ctx context.Context, req *Request) (json.RawMessage, error) {
			var args A
			if err := exact.Unmarshal(req.Body, &args); err != nil {
				if req.Fingerprint != "" && req.Fingerprint != m.Fingerprint {
					return nil, serve.OtherVersion(Errorf(ErrFailedPrecondition, "decoding the arguments of %s.%s: %w; the caller "+
						"has another version of the method (contract %s, here %s)", m.Service, m.Name, err, req.Fingerprint,
						m.Fingerprint))
				}
				return nil, Errorf(ErrInvalidArgument, "decoding the arguments of %s.%s: %w", m.Service, m.Name, err)
			}
			reply, err := call(ctx, impl, args)
			if err != nil {
				return nil, err
			}
			body, err := exact.Marshal(&reply)
			if err != nil {
				return nil, Errorf(ErrInternal, "encoding the results of %s.%s: %w", m.Service, m.Name, err)
			}
			return body, nil
		}
	}}
}

// RegisterService registers impl as a service with r. Generated code calls it.
func RegisterService[T any](r Registrar, s Service, impl *T, methods ...Binding[T]) {
	spec := ServiceSpec{Service: s, Package: reflect.TypeFor[T]().PkgPath()}
	if impl == nil {
		spec.Err = Errorf(ErrInvalidArgument, "%s: the implementation is nil", registration.Func(spec.Package, s.Type))
	}
	for _, b := range methods {
		spec.Methods = append(spec.Methods, MethodSpec{Info: b.info, Handler: b.to(impl), Args: b.args})
	}
	slices.SortFunc(spec.Methods, func(a, b MethodSpec) int { return strings.Compare(a.Info.Name, b.Info.Name) })
	r.AddService(spec)
}
