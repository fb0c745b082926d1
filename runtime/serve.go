package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// A server answers the requests for one service of an App.
type server struct {
	app     *App
	name    string
	methods map[string]method
	load    load
}

type method struct {
	info    backend.MethodInfo
	handler Handler // wrapped in the middleware
}

// serve starts answering the calls of a service.
func (a *App) serve(ctx context.Context, spec ServiceSpec) (backend.Serving, error) {
	s := &server{app: a, name: spec.Name, methods: make(map[string]method, len(spec.Methods))}
	a.serves(s, spec)
	e := backend.Endpoint{Service: spec.Name, Instance: a.instance, Concurrency: max(spec.Concurrency, 1)}
	for _, m := range spec.Methods {
		h := recoverPanics(m.Handler)
		for i := len(a.settings.server) - 1; i >= 0; i-- {
			if h = a.settings.server[i](h); h == nil {
				return nil, NewError(ErrInvalidArgument, "a server middleware returned nil")
			}
		}
		s.methods[m.Info.Name] = method{m.Info, h}
		e.Methods = append(e.Methods, m.Info)
	}
	return a.ports.Calls.Serve(ctx, e, s.handle)
}

// handle is the backend.Handler of the service. It calls reply exactly once, even if the handler panics.
func (s *server) handle(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
	m, refusal := s.find(ctx, req)
	if refusal != nil {
		reply(&backend.Reply{Server: s.app.instance.ID, Err: refusal})
		return
	}
	begun := time.Now()
	s.load.begin()
	r := &backend.Reply{Server: s.app.instance.ID}
	err := error(guard.ErrGoexit)
	// This does not use guard.Do, because one more frame below the handler may exceed the initial stack of a goroutine.
	defer func() {
		if p := recover(); p != nil { // of middleware: recoverPanics has recovered those of the handler
			err = guard.Recovered(p)
		}
		s.load.end(err)
		s.report(ctx, req, err, time.Since(begun))
		if err != nil {
			r.Body, r.Err = nil, s.toWireError(ctx, req, err)
			if _, other := errors.AsType[*contractError](err); other {
				r.Err.Outcome = OutcomeNotSent
				if req.Redelivered { // another instance may have begun it
					r.Err.Outcome = OutcomeUnknown
				}
			}
		}
		reply(r)
	}()
	ctx = context.WithValue(ctx, handlingKey{}, &handling{app: s.app, request: req})
	body, failure := m.handler(ctx, req)
	r.Body, err = body, guard.Check(failure) // again, for errors of middleware
	if err == nil && len(r.Body) > backend.MaxMessage {
		err = Errorf(ErrResourceExhausted, "the results of %s.%s are %d bytes; at most %d are allowed",
			s.name, req.Method, len(r.Body), backend.MaxMessage)
	}
}

// toWireError returns the error of a request that is sent to the caller. It logs an error whose text RedactErrors
// hides.
func (s *server) toWireError(ctx context.Context, req *backend.Request, err error) *Error {
	if !s.app.settings.redact {
		return guard.ToWireError(err)
	}
	a, hidden := redacted(err)
	if _, ok := errors.AsType[*guard.PanicError](err); hidden && !ok { // report logs panics
		s.app.log.WarnContext(ctx, "call failed, error redacted",
			"service", s.name, "method", req.Method, "call", req.ID, "caller", req.Caller, "error", err)
	}
	return a
}

// find returns the method of a request, or an error, with its Outcome, if the request is rejected.
func (s *server) find(ctx context.Context, req *backend.Request) (method, *Error) {
	m, ok := s.methods[req.Method]
	switch {
	case !s.app.awaitStart(ctx):
		return m, NewError(ErrUnavailable, "the instance has not started").With(OutcomeNotSent)
	case !ok:
		return m, Errorf(ErrUnimplemented, "service %q has no method %q", s.name, req.Method).With(OutcomeAnswered)
	case len(req.Body) > backend.MaxMessage:
		return m, Errorf(ErrResourceExhausted, "the arguments of %s.%s are %d bytes; at most %d are allowed",
			s.name, req.Method, len(req.Body), backend.MaxMessage).With(OutcomeAnswered)
	case req.Redelivered && !m.info.Idempotent:
		// Another instance may have handled it. Only the caller knows whether repeating it is safe.
		return m, Errorf(ErrUnavailable, "%s.%s was interrupted and is not idempotent", s.name, req.Method).
			With(OutcomeUnknown)
	}
	if req.Fingerprint != "" && req.Fingerprint != m.info.Fingerprint &&
		s.app.warned.once(req.Caller+" "+s.name+"."+req.Method) {
		s.app.log.Warn("caller has another version of the method; unknown members are ignored, missing ones are zero",
			"service", s.name, "method", req.Method, "caller", req.Caller, "theirs", req.Fingerprint, "ours", m.info.Fingerprint)
	}
	return m, nil
}

// report logs the end of a request: panics at level ERROR, the others at level DEBUG.
func (s *server) report(ctx context.Context, req *backend.Request, err error, took time.Duration) {
	log, level := s.app.log, slog.LevelDebug
	p, panicked := errors.AsType[*guard.PanicError](err) // middleware may have wrapped it
	if panicked || err == error(guard.ErrGoexit) {
		level = slog.LevelError
	}
	if !log.Enabled(ctx, level) {
		return
	}
	args := []any{"service", s.name, "method", req.Method, "call", req.ID, "caller", req.Caller, "took", took}
	switch {
	case panicked:
		log.Log(ctx, level, "panic in a handler", append(args, p.Attrs()...)...)
	case err != nil:
		log.Log(ctx, level, "handled", append(args, "code", string(CodeOf(err)), "error", err)...)
	default:
		log.Log(ctx, level, "handled", args...)
	}
}

// recoverPanics returns a Handler that converts a panic of h into an error, which middleware sees.
func recoverPanics(h Handler) Handler {
	return func(ctx context.Context, req *Request) (body json.RawMessage, err error) {
		defer guard.Recover(&err)
		body, err = h(ctx, req)
		return body, guard.Check(err)
	}
}

// stuck returns the stacks of running handlers.
func (s *server) stuck() []string { return stack.On(stack.Name((*server).handle), s, stack.Most) }

// warnings has the keys of warnings that have been logged, such as those of other versions of a contract, so that each
// is logged once.
type warnings struct {
	mu   sync.Mutex
	seen map[string]bool
}

const maxWarnings = 1024 // further warnings are not logged

// once reports whether the warning must be logged. It returns true once for each key.
func (w *warnings) once(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[key] || len(w.seen) >= maxWarnings {
		return false
	}
	if w.seen == nil {
		w.seen = map[string]bool{}
	}
	w.seen[key] = true
	return true
}
