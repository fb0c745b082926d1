package runtime

import (
	"context"

	"github.com/afgen/afgen/runtime/internal/hooks"
)

type traceKey struct{}

// WithTrace returns a context with a W3C traceparent. An invalid traceparent is ignored. Calls and raw messages carry
// it as a header, submitted tasks store it, and log records have its trace id. The context of a handler has the
// traceparent of its call, task or message. The current span of an instrument ([Instrument]) precedes it.
func WithTrace(ctx context.Context, traceparent string) context.Context {
	if !hooks.ValidTrace(traceparent) {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, traceparent)
}

// TraceFrom returns the traceparent of the current span, if the handler that owns ctx runs on an App with an instrument.
// Otherwise it returns that set by [WithTrace], or else that of the handler's call, task or message. It returns "" if
// there is none.
func TraceFrom(ctx context.Context) string {
	h := handlingFrom(ctx)
	if h != nil {
		if trace := h.app.hooks.Trace(ctx); trace != "" {
			return trace
		}
	}
	trace, ok := ctx.Value(traceKey{}).(string)
	switch {
	case ok || h == nil:
		return trace
	case h.request != nil:
		trace = h.request.Headers[hooks.HeaderTrace]
	case h.running != nil:
		trace = h.running.trace
	case h.raw != nil:
		trace = h.raw.trace
	}
	if !hooks.ValidTrace(trace) {
		return ""
	}
	return trace
}

// joined returns the metadata of a task that is submitted, and its trace: that of the current span, or TraceFrom.
func (a *App) joined(ctx context.Context, inherited, own Metadata) (metadata map[string]string, trace string) {
	if metadata, trace = a.hooks.Join(ctx, inherited, own); trace == "" {
		trace = TraceFrom(ctx)
	}
	return metadata, trace
}
