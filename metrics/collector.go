package metrics

import (
	"context"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

// Collector collects the metrics of an App, for a registry that has other metrics, too. [Handler] documents what it
// collects, and when. A registry refuses it with an error if the App was opened without an [Instrument], or if another
// App uses the same one.
func Collector(app *af.App) prometheus.Collector { return newCollector(app) }

func newCollector(app *af.App) *collector {
	c := &collector{app: app, reader: metric.NewGauges(app), gauges: map[string]*prometheus.Desc{}}
	for _, m := range metric.All() {
		if m.Kind == metric.Gauge {
			c.gauges[m.Name] = prometheus.NewDesc(m.Prometheus(), m.Description, labels(m), nil)
		}
	}
	c.instrument, c.err = instrumentOf(app)
	return c
}

// instrumentOf returns the Instrument of an App, which becomes that of this App only.
func instrumentOf(app *af.App) (*Instrument, error) {
	for _, other := range app.Instruments() {
		i, ok := other.(*Instrument)
		if !ok {
			continue
		}
		if !i.app.CompareAndSwap(nil, app) && i.app.Load() != app {
			return nil, af.Errorf(af.ErrFailedPrecondition, "two apps have the same metrics.Instrument: call metrics.New for each")
		}
		return i, nil
	}
	return nil, af.Errorf(af.ErrFailedPrecondition,
		"the app has no metrics: open it with the option af.Instrument(metrics.New())")
}

// A collector collects the metrics of an App.
type collector struct {
	app        *af.App
	instrument *Instrument // nil if err is not
	err        error       // why nothing can be collected
	reader     *metric.Gauges
	gauges     map[string]*prometheus.Desc // by the metric's name

	mu     sync.Mutex
	failed bool // the system could not be read last time
}

// Describe implements [prometheus.Collector]. An invalid description makes a registry refuse the collector.
func (c *collector) Describe(descriptions chan<- *prometheus.Desc) {
	if c.err != nil {
		descriptions <- prometheus.NewInvalidDesc(c.err)
		return
	}
	for _, v := range c.instrument.vectors {
		v.Describe(descriptions)
	}
	for _, d := range c.gauges {
		descriptions <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	if c.err != nil {
		metrics <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(c.err), c.err)
		return
	}
	for _, v := range c.instrument.vectors {
		v.Collect(metrics)
	}
	// Two names with different invalid bytes are one name. A second series of it would make the scrape fail.
	seen := map[string]bool{}
	c.report(c.reader.Read(context.Background(), func(m metric.Metric, value float64, values ...string) {
		key := m.Name + "\xff" + strings.Join(values, "\xff") // which is no part of a valid name
		if seen[key] {
			return
		}
		seen[key] = true
		g, err := prometheus.NewConstMetric(c.gauges[m.Name], prometheus.GaugeValue, value, values...)
		if err != nil {
			g = prometheus.NewInvalidMetric(c.gauges[m.Name], err)
		}
		metrics <- g
	}))
}

// report logs the first of several failed reads of the system in a row.
func (c *collector) report(err error) {
	c.mu.Lock()
	first := err != nil && !c.failed
	c.failed = err != nil
	c.mu.Unlock()
	if first {
		c.app.Logger().Warn("metrics of queues and instances are missing", "error", err)
	}
}
