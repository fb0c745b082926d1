package metrics

import (
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	af "github.com/afgen/afgen/runtime"
)

// traceparent is the name of the trace in the metadata of calls, tasks and messages.
const traceparent = "traceparent"

// traceLength is the length of a W3C traceparent.
const traceLength = 55

// traceKey is the key of the traceparent of the operation that an App is about to handle.
type traceKey struct{}

// Extract implements [af.Instrumentation]. The durations of handlers are recorded with the context that it returns.
func (i *Instrument) Extract(ctx context.Context, metadata map[string]string) context.Context {
	if trace := metadata[traceparent]; sampled(trace) && af.TraceFrom(af.WithTrace(context.Background(), trace)) != "" {
		return context.WithValue(ctx, traceKey{}, trace)
	}
	return ctx
}

// exemplar returns the labels of the exemplar of a value, or nil if it belongs to no sampled trace.
func exemplar(ctx context.Context) prometheus.Labels {
	trace := af.TraceFrom(ctx)
	if trace == "" {
		trace, _ = ctx.Value(traceKey{}).(string)
	}
	if !sampled(trace) {
		return nil
	}
	return prometheus.Labels{"trace_id": trace[3:35], "span_id": trace[36:52]} // as OpenTelemetry names them
}

// sampled reports whether a W3C traceparent has the flag sampled. It may be malformed: af.WithTrace ignores it then.
func sampled(trace string) bool {
	return len(trace) == traceLength && strings.IndexByte("13579bdf", trace[traceLength-1]) >= 0
}
