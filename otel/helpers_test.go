package afotel_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
)

// patience limits how long a test waits for what must happen.
const patience = 30 * time.Second

// A fixture has an instrument whose spans and metrics stay in memory.
type fixture struct {
	*testing.T
	*afotel.Instrument
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer
	reader *sdkmetric.ManualReader
}

func observe(t *testing.T, options ...afotel.Option) *fixture {
	t.Helper()
	f := &fixture{T: t, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(f.spans))
	f.tracer = tracers.Tracer("test")
	var err error
	f.Instrument, err = afotel.New(append([]afotel.Option{
		afotel.TracerProvider(tracers), afotel.Propagator(propagation.TraceContext{}),
		afotel.MeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(f.reader))),
	}, options...)...)
	f.must(err)
	return f
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// root begins a span like that of an HTTP request, and ends it.
func (f *fixture) root() (context.Context, trace.SpanContext) {
	ctx, span := f.tracer.Start(f.Context(), "GET /")
	span.End()
	return ctx, span.SpanContext()
}

// start opens an App with the instrument, registers and starts it.
func (f *fixture) start(b af.Backend, register func(*af.App), options ...af.AppOption) *af.App {
	f.Helper()
	app, err := af.Open(f.Context(), b, append(options, af.Instrument(f.Instrument), quiet())...)
	f.must(err)
	f.Cleanup(func() { shutdown(app) })
	if register != nil {
		register(app)
	}
	f.must(app.Start(f.Context()))
	return app
}

func shutdown(app *af.App) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = app.Shutdown(ctx)
}

func quiet() af.AppOption { return af.Logger(slog.New(slog.DiscardHandler)) }

// within waits until a condition holds.
func (f *fixture) within(what string, holds func() bool) {
	f.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// named returns the ended spans with a name, in the order of their begins.
func (f *fixture) named(name string) []sdktrace.ReadOnlySpan {
	var found []sdktrace.ReadOnlySpan
	for _, s := range f.spans.Ended() {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	return found
}

// of returns the attempts of a task, when there are n.
func (f *fixture) of(name, task string, n int) []sdktrace.ReadOnlySpan {
	f.Helper()
	var found []sdktrace.ReadOnlySpan
	f.within(name+" of task "+task, func() bool {
		found = slices.DeleteFunc(f.named(name), func(s sdktrace.ReadOnlySpan) bool {
			return value(s, "messaging.message.id") != task
		})
		return len(found) >= n
	})
	if len(found) > n {
		f.Errorf("%d spans %s of task %s, want %d", len(found), name, task, n)
	}
	return found
}

// value returns an attribute of a span as text, or "".
func value(s sdktrace.ReadOnlySpan, key string) string {
	for _, a := range s.Attributes() {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

// links returns what a span is linked to, by af.link.
func links(s sdktrace.ReadOnlySpan) map[string]trace.SpanID {
	all := map[string]trace.SpanID{}
	for _, l := range s.Links() {
		for _, a := range l.Attributes {
			all[a.Value.AsString()] = l.SpanContext.SpanID()
		}
	}
	return all
}

// endedOnce checks that each span that was started ends, once.
func (f *fixture) endedOnce() {
	f.Helper()
	f.within("every span has ended", func() bool { return len(f.spans.Ended()) >= len(f.spans.Started()) })
	ends := map[trace.SpanID]int{}
	for _, s := range f.spans.Ended() {
		ends[s.SpanContext().SpanID()]++
	}
	for _, s := range f.spans.Started() {
		if n := ends[s.SpanContext().SpanID()]; n != 1 {
			f.Errorf("span %s has ended %d times", s.Name(), n)
		}
	}
}

// is checks the status of an attempt, its outcome and its code.
func (f *fixture) is(s sdktrace.ReadOnlySpan, status codes.Code, outcome, code string) {
	f.Helper()
	if got := s.Status(); got.Code != status || got.Description != "" ||
		value(s, "af.task.outcome") != outcome || value(s, "error.type") != code {
		f.Errorf("%s has status %v %q, outcome %q and error.type %q, want %v, %q and %q", s.Name(), got.Code, got.Description,
			value(s, "af.task.outcome"), value(s, "error.type"), status, outcome, code)
	}
}

// collect returns the metrics by name.
func (f *fixture) collect() map[string]metricdata.Metrics {
	f.Helper()
	var data metricdata.ResourceMetrics
	f.must(f.reader.Collect(f.Context(), &data))
	all := map[string]metricdata.Metrics{}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			all[m.Name] = m
		}
	}
	return all
}

// points returns the attributes and the value, or the count, of each point of a metric.
func points(m metricdata.Metrics) map[attribute.Set]float64 {
	all := map[attribute.Set]float64{}
	switch data := m.Data.(type) {
	case metricdata.Sum[float64]:
		for _, p := range data.DataPoints {
			all[p.Attributes] = p.Value
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			all[p.Attributes] = p.Value
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			all[p.Attributes] = float64(p.Count)
		}
	}
	return all
}
