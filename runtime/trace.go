package runtime

import (
	"context"
	"maps"
	"regexp"
	"strings"
)

// headerTrace is the header of a call that says which trace it belongs to, as the W3C's Trace Context has it.
const headerTrace = "traceparent"

var traceParent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

type traceKey struct{}

// WithTrace returns a context with a W3C traceparent. An invalid traceparent is ignored. It travels in the headers of
// calls and with tasks that are submitted, and its trace id is added to log records. The context of a handler has the
// traceparent of its call or task.
func WithTrace(ctx context.Context, traceparent string) context.Context {
	if !traceParent.MatchString(traceparent) {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, traceparent)
}

// TraceFrom returns the traceparent of ctx: that of WithTrace, or else that of the handler's call or task, or else "".
func TraceFrom(ctx context.Context) string {
	trace, ok := ctx.Value(traceKey{}).(string)
	h := handlingFrom(ctx)
	switch {
	case ok || h == nil:
		return trace
	case h.request != nil:
		trace = h.request.Headers[headerTrace]
	case h.running != nil:
		trace = h.running.trace
	}
	if trace != "" && !traceParent.MatchString(trace) {
		return ""
	}
	return trace
}

// traceID is the part of a traceparent that names the trace.
func traceID(traceparent string) string {
	if traceparent == "" {
		return ""
	}
	return strings.Split(traceparent, "-")[1]
}

// traced are the headers of a call made with ctx: middleware's own traceparent counts, else ctx's.
func traced(ctx context.Context, headers map[string]string) map[string]string {
	if headers[headerTrace] != "" {
		return headers
	}
	trace := TraceFrom(ctx)
	if trace == "" {
		return headers
	}
	with := make(map[string]string, len(headers)+1)
	maps.Copy(with, headers)
	with[headerTrace] = trace
	return with
}
