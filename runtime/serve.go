package runtime

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/registry"
	"github.com/afgen/afgen/runtime/internal/serve"
)

// serve starts answering the calls of a service.
func (a *App) serve(ctx context.Context, spec ServiceSpec) error {
	e := backend.Endpoint{Service: spec.Name, Instance: a.instance, Concurrency: max(spec.Concurrency, 1)}
	methods, args := make([]serve.Method, len(spec.Methods)), map[string][]string{}
	for i, m := range spec.Methods {
		h := Handler(serve.Recover(m.Handler))
		for i := len(a.settings.server) - 1; i >= 0; i-- {
			if h = a.settings.server[i](h); h == nil {
				return NewError(ErrInvalidArgument, "a server middleware returned nil")
			}
		}
		methods[i] = serve.Method{Info: m.Info, Handler: h}
		m.Info.Doc = backend.Text(m.Info.Doc, backend.MaxDoc)
		e.Methods = append(e.Methods, m.Info)
		if m.Args != nil {
			args[m.Info.Name] = m.Args
		}
	}
	about := backend.Text(spec.Doc, backend.MaxDoc)
	service := registry.NewService(spec.Name, about, e.Concurrency, e.Methods, args, a.log)
	s := serve.New(serve.Config{
		Instance: a.instance, Log: a.log, Redact: a.settings.redact, AwaitStart: a.life.AwaitStart, WarnOnce: a.warned.First,
		Context: a.handlingRequest, Hooks: a.hooks,
	}, service, methods)
	if a.core != nil {
		a.core.registry.Add(service)
	}
	return a.servings.Serve(ctx, a.ports.Calls, e, s)
}

// handlingRequest returns the context of the handler of a request.
func (a *App) handlingRequest(ctx context.Context, req *Request) context.Context {
	return context.WithValue(ctx, handlingKey{}, &handling{app: a, request: req})
}
