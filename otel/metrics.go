package afotel

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	otelmetric "go.opentelemetry.io/otel/metric"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

// A sink has the counters and histograms of a meter, by name.
type sink struct {
	counters   map[string]otelmetric.Float64Counter
	histograms map[string]otelmetric.Float64Histogram
}

// newSink creates the counters and histograms of the table.
func newSink(meter otelmetric.Meter) (*sink, error) {
	s := &sink{map[string]otelmetric.Float64Counter{}, map[string]otelmetric.Float64Histogram{}}
	for _, m := range metric.All() {
		var err error
		switch m.Kind {
		case metric.Counter:
			s.counters[m.Name], err = meter.Float64Counter(m.Name, otelmetric.WithUnit(m.Unit),
				otelmetric.WithDescription(m.Description))
		case metric.Histogram:
			s.histograms[m.Name], err = meter.Float64Histogram(m.Name, otelmetric.WithUnit(m.Unit),
				otelmetric.WithDescription(m.Description), otelmetric.WithExplicitBucketBoundaries(m.Buckets...))
		}
		if err != nil {
			return nil, refused(m, err)
		}
	}
	return s, nil
}

func refused(m metric.Metric, err error) error {
	return af.Errorf(af.CodeOf(err), "metric %s: %w", m.Name, err)
}

// series is a [metric.Sink].
func (s *sink) series(m metric.Metric, values []string) metric.Series {
	set := otelmetric.WithAttributeSet(attribute.NewSet(attributes(m, values)...))
	if m.Kind == metric.Counter {
		counter, with := s.counters[m.Name], []otelmetric.AddOption{set}
		return func(ctx context.Context, v float64) { counter.Add(ctx, v, with...) }
	}
	histogram, with := s.histograms[m.Name], []otelmetric.RecordOption{set}
	return func(ctx context.Context, v float64) { histogram.Record(ctx, v, with...) }
}

// attributes returns the attributes of a series. Those without a value are left out.
func attributes(m metric.Metric, values []string) []attribute.KeyValue {
	var all []attribute.KeyValue
	for i, v := range values {
		if v != "" {
			all = append(all, attribute.String(m.Attributes[i], v))
		}
	}
	return all
}

// gauges are the gauges of a meter.
type gauges struct {
	meter  otelmetric.Meter
	all    []otelmetric.Observable
	byName map[string]otelmetric.Float64ObservableGauge
}

// newGauges creates the gauges of the table.
func newGauges(meter otelmetric.Meter) (gauges, error) {
	g := gauges{meter: meter, byName: map[string]otelmetric.Float64ObservableGauge{}}
	for _, m := range metric.All() {
		if m.Kind != metric.Gauge {
			continue
		}
		gauge, err := meter.Float64ObservableGauge(m.Name, otelmetric.WithUnit(m.Unit),
			otelmetric.WithDescription(m.Description))
		if err != nil {
			return g, refused(m, err)
		}
		g.byName[m.Name], g.all = gauge, append(g.all, gauge)
	}
	return g, nil
}

// watch observes the gauges of an App.
func (g *gauges) watch(app *af.App) (stop func(), err error) {
	reader := metric.NewGauges(app)
	registration, err := g.meter.RegisterCallback(func(ctx context.Context, o otelmetric.Observer) error {
		return reader.Read(ctx, func(m metric.Metric, v float64, values ...string) {
			o.ObserveFloat64(g.byName[m.Name], v, otelmetric.WithAttributes(attributes(m, values)...))
		})
	}, g.all...)
	if err != nil {
		return nil, af.Errorf(af.CodeOf(err), "registering gauges: %w", err)
	}
	return sync.OnceFunc(func() { _ = registration.Unregister() }), nil // fails only if it was unregistered before
}
