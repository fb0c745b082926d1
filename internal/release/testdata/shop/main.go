// Command shop uses all modules.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/afgen/afgen/metrics"
	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	spans := tracetest.NewSpanRecorder()
	traces, err := afotel.New(afotel.TracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))))
	if err != nil {
		return err
	}
	app, err := af.Open(ctx, memory.New(), af.Instrument(traces, metrics.New()),
		af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	RegisterPrices(app, &Prices{})
	if err := app.Start(ctx); err != nil {
		return err
	}
	price, err := NewPricesClient(app).Price(ctx, "tea")
	if err != nil {
		return err
	}
	fmt.Println(price)
	if err := app.Shutdown(ctx); err != nil {
		return err
	}
	fmt.Println("span", spans.Ended()[0].Name())
	registry := prometheus.NewRegistry()
	if err := registry.Register(metrics.Collector(app)); err != nil {
		return err
	}
	families, err := registry.Gather()
	for _, f := range families {
		if f.GetName() == "rpc_server_call_duration_seconds" {
			fmt.Println(f.GetName()+"_count", f.GetMetric()[0].GetHistogram().GetSampleCount())
		}
	}
	return err
}
