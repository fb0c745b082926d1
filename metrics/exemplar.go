package metrics

import (
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	af "github.com/afgen/afgen/runtime"
)

// traceparent is the name of the trace in the metadata of calls, tasks and messages.
const traceparent = "traceparent"

// traceKey is the key of the traceparent of the operation that an App is about to handle.
type traceKey struct{}

// Extract implements [af.Instrumentation]. The durations of handlers are recorded with the context that it returns.
func (i *Instrument) Extract(ctx context.Context, metadata map[string]string) context.Context {
	if trace := metadata[traceparent]; sampled(trace) {
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

// sampled reports whether a W3C traceparent is well-formed and has the flag sampled.
func sampled(trace string) bool {
	if len(trace) < 55 || trace[2] != '-' || trace[35] != '-' || trace[52] != '-' {
		return false
	}
	for _, c := range trace[:35] + trace[36:52] {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	flags, err := strconv.ParseUint(trace[53:55], 16, 8)
	return err == nil && flags&1 == 1
}
