package runtime

import (
	"context"
	"maps"
	"regexp"
	"strings"
)

// headerTrace is the header of W3C Trace Context that identifies the trace of a call.
const headerTrace = "traceparent"

var traceParent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

type traceKey struct{}

// WithTrace returns a context with a W3C traceparent. An invalid traceparent is ignored. Calls and raw messages carry
// it as a header, submitted tasks store it, and log records have its trace id. The context of a handler has the
// traceparent of its call, task or message.
func WithTrace(ctx context.Context, traceparent string) context.Context {
	if !traceParent.MatchString(traceparent) {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, traceparent)
}

// TraceFrom returns the traceparent set by [WithTrace], or else that of the handler's call, task or message. It returns
// "" if there is none.
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
	case h.raw != nil:
		trace = h.raw.trace
	}
	if trace != "" && !traceParent.MatchString(trace) {
		return ""
	}
	return trace
}

// traceID returns the trace id of a traceparent.
func traceID(traceparent string) string {
	if traceparent == "" {
		return ""
	}
	return strings.Split(traceparent, "-")[1]
}

// traced returns the headers of a call made with ctx, with its traceparent unless middleware has set one.
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
