// Package telemetry sets up OpenTelemetry by its standard environment variables. Copy it into a program, as
// OpenTelemetry leaves this to programs.
//
// Nothing is exported unless the environment asks for it:
//
//	OTEL_EXPORTER_OTLP_ENDPOINT  the URL of a collector, for traces and metrics
//	OTEL_TRACES_EXPORTER         otlp, console or none
//	OTEL_METRICS_EXPORTER        otlp, prometheus, console or none
//	OTEL_SERVICE_NAME            the name of the program
//	OTEL_TRACES_SAMPLER          such as parentbased_traceidratio, with OTEL_TRACES_SAMPLER_ARG=0.01
//	OTEL_PROPAGATORS             tracecontext and baggage by default
//	OTEL_SDK_DISABLED            true switches everything off
//
// and all others of the exporters, such as OTEL_EXPORTER_OTLP_HEADERS and OTEL_METRIC_EXPORT_INTERVAL.
package telemetry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	af "github.com/afgen/afgen/runtime"
)

// Setup sets the global providers and the global propagator of OpenTelemetry. Call it before afotel.New. service is the
// name of the program unless the environment has one. shutdown, which must be called after the App's Run, sends what is
// left and waits for the collector for five seconds at most. A collector that is down is logged and no failure of the
// program; an invalid value in the environment is.
func Setup(ctx context.Context, service string) (shutdown func(context.Context), err error) {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return func(context.Context) {}, nil
	}
	otel.SetErrorHandler(&firstError{})
	if af.IsChildProcess() { // one for each task: its parent logs that the collector is down
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	}
	otel.SetTextMapPropagator(autoprop.NewTextMapPropagator())
	var closers []func(context.Context) error
	shutdown = func(ctx context.Context) { closeAll(ctx, closers) }
	defer func() {
		if err != nil {
			shutdown(ctx)
			shutdown = nil
		}
	}()
	about, err := describe(ctx, service)
	if err != nil {
		return shutdown, fmt.Errorf("describing the program: %w", err)
	}
	if wanted("TRACES") {
		exporter, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			return shutdown, invalid("OTEL_TRACES_EXPORTER", err)
		}
		if !autoexport.IsNoneSpanExporter(exporter) {
			tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
			otel.SetTracerProvider(tracers)
			closers = append(closers, tracers.Shutdown)
		}
	}
	if wanted("METRICS") && !scrapedChild() {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return shutdown, invalid("OTEL_METRICS_EXPORTER", err)
		}
		if !autoexport.IsNoneMetricReader(reader) {
			meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(about))
			otel.SetMeterProvider(meters)
			closers = append(closers, meters.Shutdown)
		}
	}
	return shutdown, nil
}

func invalid(variable string, err error) error {
	return fmt.Errorf("%s=%q: %w", variable, os.Getenv(variable), err)
}

// wanted reports whether the environment names an exporter or an endpoint. Without both, OpenTelemetry would send to
// a collector on this machine, and complain if there is none.
func wanted(signal string) bool {
	for _, name := range []string{
		"OTEL_" + signal + "_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT",
	} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// scrapedChild reports whether this is a child process of isolation=process whose metrics Prometheus would scrape. Its
// parent listens on the port, and has the metrics of its attempts.
func scrapedChild() bool {
	return af.IsChildProcess() && strings.EqualFold(os.Getenv("OTEL_METRICS_EXPORTER"), "prometheus")
}

// describe returns the attributes of all spans and metrics of this process. Without an id of its own, its metrics would
// be mixed with those of other processes.
func describe(ctx context.Context, service string) (*resource.Resource, error) {
	return resource.New(ctx,
		resource.WithSchemaURL(semconv.SchemaURL),
		resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceInstanceID(rand.Text())),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(), // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES precede
	)
}

// closeAll closes the providers together, so that one that waits does not delay another.
func closeAll(ctx context.Context, closers []func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for _, closer := range closers {
		all.Go(func() {
			if err := closer(ctx); err != nil {
				otel.Handle(fmt.Errorf("the last traces or metrics are not sent: %w", err))
			}
		})
	}
	all.Wait()
}

// firstError logs the first error of OpenTelemetry, and then one a minute: a collector that is down would fill the log.
type firstError struct {
	mu   sync.Mutex
	next time.Time
	more int
}

// Handle implements [otel.ErrorHandler].
func (f *firstError) Handle(err error) {
	if errors.Is(err, context.Canceled) {
		return // shutdown ends a periodic export and sends everything again: only the failure of that is worth its line
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Now().Before(f.next) {
		f.more++
		return
	}
	slog.Warn("OpenTelemetry", "error", err, "not_logged", f.more)
	f.next, f.more = time.Now().Add(time.Minute), 0
}
