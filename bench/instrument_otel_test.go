//go:build otel

package bench

import (
	"context"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
)

// sampled is the share of traces that are recorded and exported.
const sampled = 0.01

func instruments(tb testing.TB) []af.AppOption {
	tb.Helper()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(discard{}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(sampled))))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	tb.Cleanup(func() { _ = tracers.Shutdown(context.Background()) })
	instrument, err := afotel.New(afotel.TracerProvider(tracers), afotel.MeterProvider(meters))
	if err != nil {
		tb.Fatal(err)
	}
	return []af.AppOption{af.Instrument(instrument)}
}

// discard exports spans to nowhere.
type discard struct{}

func (discard) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }

func (discard) Shutdown(context.Context) error { return nil }
