package afotel_test

import (
	"context"
	"fmt"
	"os"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Trace and measure an App. A program sends spans and metrics to a collector, with exporters of OpenTelemetry; this one
// keeps them.
func Example() {
	ctx := context.Background()
	exporter := tracetest.NewInMemoryExporter()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))

	observed, err := afotel.New(afotel.TracerProvider(tracers), afotel.MeterProvider(meters))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	app, err := af.Open(ctx, memory.New(), af.Instrument(observed), quiet())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	stop, err := observed.Watch(app) // gauges
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer stop()
	register(app) // the generated function RegisterOrders
	if err := app.Start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	if _, err := get.Call(ctx, af.NewClient(app), 1); err != nil { // NewOrdersClient(app).Get(ctx, 1)
		fmt.Fprintln(os.Stderr, err)
	}
	if err := app.Shutdown(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := tracers.ForceFlush(ctx); err != nil { // Shutdown, in a program
		fmt.Fprintln(os.Stderr, err)
	}
	for _, s := range exporter.GetSpans() {
		fmt.Println(s.SpanKind, s.Name)
	}
	// Unordered output:
	// client orders/Get
	// server orders/Get
}
