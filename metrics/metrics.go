// Package metrics exports the metrics of an App to Prometheus, for programs without OpenTelemetry.
//
//	app, err := af.Open(ctx, backend, af.Instrument(metrics.New()))
//	http.Handle("/metrics", metrics.Handler(app))
//
// [New] returns an instrument, which counts and measures what the App does. [Handler] serves its counters and
// histograms, and the gauges of the App. Programs that have a registry of their own register a [Collector] instead.
//
// The metrics are those of docs/metrics.md, from the table of package runtime/instrument/metric. Their names, labels,
// units and buckets are those that OpenTelemetry's exporter for Prometheus makes of the metrics of package afotel, so
// dashboards and alerts fit both. Labels are names of queues, methods and jobs, statuses and codes, never ids.
//
// Histograms have exemplars with trace_id and span_id if an operation belongs to a sampled trace: see af.WithTrace.
// Prometheus requests them if it stores exemplars.
//
// # Several Apps
//
// Each App of a process has an instrument and a Handler of its own. To serve them together, register a Collector of each
// in one registry, with a label:
//
//	prometheus.WrapRegistererWith(prometheus.Labels{"app": "orders"}, registry).MustRegister(metrics.Collector(orders))
//
// # Child processes
//
// Prometheus does not scrape the child processes of isolation=process. The attempts in them are counted, by their
// parent; the calls and submissions of their handlers are not.
package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

// recorder is embedded unexported.
type recorder = metric.Recorder

// An Instrument counts and measures what an App does. Create it with [New]. It is safe for concurrent use.
type Instrument struct {
	*recorder
	vectors map[string]vector // by the metric's name
	app     atomic.Pointer[af.App]
}

var _ af.Instrumentation = (*Instrument)(nil)

// A vector has the series of a counter or histogram.
type vector struct {
	prometheus.Collector
	series func(values []string) metric.Series
}

// New returns an Instrument for one App. Give it to af.Open by af.Instrument, and the App to [Handler] or [Collector].
func New() *Instrument {
	i := &Instrument{vectors: map[string]vector{}}
	for _, m := range metric.All() {
		switch m.Kind {
		case metric.Counter:
			i.vectors[m.Name] = newCounter(m)
		case metric.Histogram:
			i.vectors[m.Name] = newHistogram(m)
		}
	}
	i.recorder = metric.NewRecorder(func(m metric.Metric, values []string) metric.Series {
		return i.vectors[m.Name].series(values)
	})
	return i
}

func newCounter(m metric.Metric) vector {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Prometheus(), Help: m.Description}, labels(m))
	return vector{v, func(values []string) metric.Series {
		c := v.WithLabelValues(values...)
		return func(_ context.Context, n float64) { c.Add(n) }
	}}
}

func newHistogram(m metric.Metric) vector {
	opts := prometheus.HistogramOpts{Name: m.Prometheus(), Help: m.Description, Buckets: m.Buckets}
	v := prometheus.NewHistogramVec(opts, labels(m))
	return vector{v, func(values []string) metric.Series {
		h := v.WithLabelValues(values...)
		exemplary := h.(prometheus.ExemplarObserver) // all histograms are
		return func(ctx context.Context, seconds float64) {
			if e := exemplar(ctx); e != nil {
				exemplary.ObserveWithExemplar(seconds, e)
			} else {
				h.Observe(seconds)
			}
		}
	}}
}

// labels returns the names of the labels of a metric. A label whose value is "" is, for Prometheus, an absent one.
func labels(m metric.Metric) []string {
	names := make([]string, len(m.Attributes))
	for i, a := range m.Attributes {
		names[i] = strings.ReplaceAll(a, ".", "_")
	}
	return names
}

// maxScrapes is how many scrapes of a Handler are served at once. Each holds all series in memory.
const maxScrapes = 10

// Handler serves the metrics of an App in the formats of Prometheus and OpenMetrics. It may be created before the App is
// started. While the App is not running, it serves counters and histograms but no gauges. If the App was opened without
// an [Instrument], or another App uses the same one, it answers each request with status 500 and the reason.
//
// A scrape reads the store every 15 s at most and waits at most 5 s for it. If the store is unavailable, it serves what
// the App knows, such as af_backend_up. At most 10 scrapes are served at once; further ones get status 503.
//
// The names of queues, methods and jobs are visible to all who can reach the Handler. It has no metrics of the process or
// of the Go runtime: for these, register a [Collector] in a registry that has them.
func Handler(app *af.App) http.Handler {
	registry := prometheus.NewRegistry()
	c := newCollector(app)
	err := c.err // the registry would return it inside of a text about an invalid descriptor
	if err == nil {
		err = registry.Register(c)
	}
	if err != nil {
		app.Logger().Error("the metrics of this app can't be served", "error", err)
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		})
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(app.Logger().Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError, // one bad series must not hide the others
		MaxRequestsInFlight: maxScrapes,
		EnableOpenMetrics:   true, // which has exemplars
	})
}
