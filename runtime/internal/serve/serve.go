// Package serve answers the requests for the services of an App.
//
// A [Set] has the services, a [Server] each. [Server.Handle] finds the method of a request and calls its handler, which
// the App has wrapped in middleware. Whatever the handler does, it replies exactly once: a panic and the end of the
// goroutine are errors, too.
package serve

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/hooks"
	"github.com/afgen/afgen/runtime/internal/redact"
	"github.com/afgen/afgen/runtime/internal/registry"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// A Config is what the Servers of an App share.
type Config struct {
	Instance   backend.Instance
	Log        *slog.Logger
	Redact     bool                                                            // hide the texts of errors from callers
	AwaitStart func(context.Context) bool                                      // returns false if requests must be refused
	WarnOnce   func(key string) bool                                           // reports whether a warning must be logged
	Context    func(ctx context.Context, req *backend.Request) context.Context // returns the context of a handler
	Hooks      *hooks.Set                                                      // the App's instruments; nil if it has none
}

// A Handler handles a request and returns the encoded results.
type Handler = func(ctx context.Context, req *backend.Request) (json.RawMessage, error)

// A Method is a method of a service. Its Handler must recover panics, as that of Recover does.
type Method struct {
	Info    backend.MethodInfo
	Handler Handler
}

// A Server answers the requests for one service of an App.
type Server struct {
	Config
	Service *registry.Service // Handle counts its load
	methods map[string]Method
}

// New returns a Server.
func New(c Config, s *registry.Service, methods []Method) *Server {
	byName := make(map[string]Method, len(methods))
	for _, m := range methods {
		byName[m.Info.Name] = m
	}
	return &Server{c, s, byName}
}

// Handle is the backend.Handler of the service. It calls reply exactly once, even if the handler panics.
func (s *Server) Handle(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
	m, refusal := s.find(ctx, req)
	if refusal != nil {
		if req.Redelivered { // another instance may have begun it
			refusal.Outcome = backend.OutcomeUnknown
		}
		reply(&backend.Reply{Server: s.Instance.ID, Err: refusal})
		return
	}
	begun := time.Now()
	s.Service.Load.Begin()
	r := &backend.Reply{Server: s.Instance.ID}
	err := error(guard.ErrGoexit)
	var end func(instrument.End)
	// This does not use guard.Do, because one more frame below the handler may exceed the initial stack of a goroutine.
	defer func() {
		if p := recover(); p != nil { // of middleware: Recover has recovered those of the handler
			err = guard.Recovered(p)
		}
		s.Service.Load.End(err)
		s.report(ctx, req, err, time.Since(begun))
		if err != nil {
			r.Body, r.Err = nil, s.toWireError(ctx, req, err)
			if _, other := errors.AsType[*versionError](err); other {
				r.Err.Outcome = backend.OutcomeNotSent
				if req.Redelivered { // another instance may have begun it
					r.Err.Outcome = backend.OutcomeUnknown
				}
			}
		}
		if end != nil {
			s.observeEnd(end, err, r)
		}
		reply(r)
	}()
	ctx = s.Context(ctx, req)
	if s.Hooks != nil {
		ctx, end = s.observe(ctx, req)
	}
	body, failure := m.Handler(ctx, req)
	r.Body, err = body, guard.Check(failure) // again, for errors of middleware
	if err == nil && len(r.Body) > backend.MaxMessage {
		err = backend.Errorf(backend.ErrResourceExhausted, "the results of %s.%s are %d bytes; at most %d are allowed",
			s.Service.Name, req.Method, len(r.Body), backend.MaxMessage)
	}
}

// observe begins the observation of a request. Like observeEnd it must not be inlined: a larger frame of Handle may
// exceed the initial stack of a goroutine.
//
//go:noinline
func (s *Server) observe(ctx context.Context, req *backend.Request) (context.Context, func(instrument.End)) {
	return s.Hooks.Handle(s.Hooks.Extract(ctx, req.Headers), instrument.Start{
		Service: req.Service, Method: req.Method, Call: req.ID, Caller: req.Caller, Size: len(req.Body),
	})
}

// observeEnd ends the observation of a request. err is the error before it is redacted.
//
//go:noinline
func (s *Server) observeEnd(end func(instrument.End), err error, r *backend.Reply) {
	e := instrument.End{Err: err, Size: len(r.Body)}
	if r.Err != nil {
		e.Code = r.Err.Code
	}
	s.Hooks.End(end, e)
}

// toWireError returns the error of a request that is sent to the caller. It logs an error whose text RedactErrors
// hides.
func (s *Server) toWireError(ctx context.Context, req *backend.Request, err error) *backend.Error {
	if !s.Redact {
		return guard.ToWireError(err)
	}
	a, hidden := redact.Error(err)
	if _, ok := errors.AsType[*guard.PanicError](err); hidden && !ok { // report logs panics
		s.Log.WarnContext(ctx, "call failed, error redacted",
			"service", s.Service.Name, "method", req.Method, "call", req.ID, "caller", req.Caller, "error", err)
	}
	return a
}

// find returns the method of a request, or an error if the request is rejected, with its Outcome unless the request was
// redelivered.
func (s *Server) find(ctx context.Context, req *backend.Request) (Method, *backend.Error) {
	m, ok := s.methods[req.Method]
	switch {
	case !s.AwaitStart(ctx):
		return m, backend.NewError(backend.ErrUnavailable, "the instance has not started").With(backend.OutcomeNotSent)
	case !ok:
		return m, backend.Errorf(backend.ErrUnimplemented, "service %q has no method %q", s.Service.Name,
			req.Method).With(backend.OutcomeAnswered)
	case len(req.Body) > backend.MaxMessage:
		return m, backend.Errorf(backend.ErrResourceExhausted, "the arguments of %s.%s are %d bytes; at most %d are allowed",
			s.Service.Name, req.Method, len(req.Body), backend.MaxMessage).With(backend.OutcomeAnswered)
	case req.Redelivered && !m.Info.Idempotent:
		// Another instance may have handled it. Only the caller knows whether repeating it is safe.
		return m, backend.Errorf(backend.ErrUnavailable, "%s.%s was interrupted and is not idempotent", s.Service.Name,
			req.Method).With(backend.OutcomeUnknown)
	}
	if req.Fingerprint != "" && req.Fingerprint != m.Info.Fingerprint &&
		s.WarnOnce(req.Caller+" "+s.Service.Name+"."+req.Method) {
		s.Log.Warn("caller has another version of the method; unknown members are ignored, missing ones are zero",
			"service", s.Service.Name, "method", req.Method, "caller", req.Caller,
			"theirs", req.Fingerprint, "ours", m.Info.Fingerprint)
	}
	return m, nil
}

// report logs the end of a request: panics at level ERROR, the others at level DEBUG.
func (s *Server) report(ctx context.Context, req *backend.Request, err error, took time.Duration) {
	log, level := s.Log, slog.LevelDebug
	p, panicked := errors.AsType[*guard.PanicError](err) // middleware may have wrapped it
	if panicked || err == error(guard.ErrGoexit) {
		level = slog.LevelError
	}
	if !log.Enabled(ctx, level) {
		return
	}
	args := []any{"service", s.Service.Name, "method", req.Method, "call", req.ID, "caller", req.Caller, "took", took}
	switch {
	case panicked:
		log.Log(ctx, level, "panic in a handler", append(args, p.Attrs()...)...)
	case err != nil:
		log.Log(ctx, level, "handled", append(args, "code", string(backend.CodeOf(err)), "error", err)...)
	default:
		log.Log(ctx, level, "handled", args...)
	}
}

// Recover returns a Handler that converts a panic of h into an error, which middleware sees.
func Recover(h Handler) Handler {
	return func(ctx context.Context, req *backend.Request) (body json.RawMessage, err error) {
		defer guard.Recover(&err)
		body, err = h(ctx, req)
		return body, guard.Check(err)
	}
}

// stuck returns the stacks of running handlers.
func (s *Server) stuck() []string { return stack.On(stack.Name((*Server).Handle), s, stack.Most) }

// OtherVersion marks the error of a request that was not handled, because its caller has another version of the method
// and its arguments can't be decoded.
func OtherVersion(err *backend.Error) error { return &versionError{err} }

type versionError struct{ err *backend.Error }

func (e *versionError) Error() string { return e.err.Error() }
func (e *versionError) Unwrap() error { return e.err }
