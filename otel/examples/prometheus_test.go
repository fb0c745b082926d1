package main_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	client "github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/prometheus"
	api "go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/afgen/afgen/runtime/instrument/metric"
)

// OpenTelemetry's exporter translates the names, attributes and kinds of the whole table as metric.Prometheus does. That
// of the collector in deploy/compose translates by the same rules.
func TestWholeTableInPrometheus(t *testing.T) {
	registry := client.NewRegistry()
	exporter, err := prometheus.New(prometheus.WithRegisterer(registry), prometheus.WithoutScopeInfo())
	if err != nil {
		t.Fatal(err)
	}
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter)).Meter("test")
	for _, m := range metric.All() {
		if err := record(t.Context(), meter, m); err != nil {
			t.Fatal(m.Name, err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	type family struct{ kind, help, labels string }
	got := map[string]family{}
	for _, f := range families {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		got[f.GetName()] = family{strings.ToLower(f.GetType().String()), f.GetHelp(), strings.Join(labels, " ")}
	}
	for _, m := range metric.All() {
		labels := slices.Clone(m.Attributes)
		for i := range labels {
			labels[i] = strings.ReplaceAll(labels[i], ".", "_")
		}
		slices.Sort(labels)
		want := family{string(m.Kind), m.Description, strings.Join(labels, " ")}
		if got[m.Prometheus()] != want {
			t.Errorf("%s is %+v as %s, want %+v", m.Name, got[m.Prometheus()], m.Prometheus(), want)
		}
	}
}

// record records a value of a metric.
func record(ctx context.Context, meter api.Meter, m metric.Metric) error {
	var all []attribute.KeyValue
	for _, name := range m.Attributes {
		all = append(all, attribute.String(name, "x"))
	}
	set := api.WithAttributes(all...)
	switch m.Kind {
	case metric.Counter:
		c, err := meter.Float64Counter(m.Name, api.WithUnit(m.Unit), api.WithDescription(m.Description))
		if err == nil {
			c.Add(ctx, 1, set)
		}
		return err
	case metric.Histogram:
		h, err := meter.Float64Histogram(m.Name, api.WithUnit(m.Unit), api.WithDescription(m.Description))
		if err == nil {
			h.Record(ctx, 1, set)
		}
		return err
	default:
		g, err := meter.Float64Gauge(m.Name, api.WithUnit(m.Unit), api.WithDescription(m.Description))
		if err == nil {
			g.Record(ctx, 1, set)
		}
		return err
	}
}
