package afotel_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

// What a task of the worker does, by its payload.
const (
	succeeds = iota
	fails
)

var (
	resize = af.Worker{Name: "resize", Type: "Resize", Max: 8, Weight: 1}
	get    = &af.Method[int, int]{Service: "orders", Name: "Get", Timeout: patience}
)

type orders struct{}

type resizer struct{}

func (*resizer) Run(_ context.Context, what int) (int, error) {
	if what == fails {
		return 0, af.Permanent(af.ErrNotFound)
	}
	return what, nil
}

// register registers the service.
func register(app *af.App) {
	af.RegisterService(app, af.Service{Name: "orders", Type: "Orders"}, &orders{},
		af.Bind(get, func(_ context.Context, _ *orders, n int) (int, error) {
			if n < 0 {
				return 0, af.ErrNotFound
			}
			return n, nil
		}))
}

// pair starts an App that serves and works, and another one.
func (f *fixture) pair() (client, works *af.App) {
	m := memory.New()
	works = f.start(m, func(app *af.App) {
		register(app)
		af.RegisterWorker(app, resize, &resizer{})
	})
	return f.start(m, nil), works
}

// Every metric of the table is exported with its unit, kind, buckets and attributes, and nothing else is. Many tasks
// make no more series than few.
func TestMetricsAreThoseOfTheTable(t *testing.T) {
	f := observe(t)
	client, app := f.pair()
	stop, err := f.Watch(app)
	f.must(err)
	f.activity(client, 5)
	f.within("the ends are counted", func() bool { return count(f.collect()["af.task.ended"]) == 2*5 })
	before := f.checkTable()
	f.activity(client, 45)
	f.within("the ends are counted", func() bool { return count(f.collect()["af.task.ended"]) == 2*50 })
	if after := f.checkTable(); after != before {
		t.Errorf("%d series after 100 tasks, %d after 10", after, before)
	}
	stop()
	stop()
	if m, ok := f.collect()["af.instances"]; ok && count(m) > 0 {
		t.Error("a gauge has values after stop")
	}
}

// An App that was opened without the instrument would have gauges, and neither spans nor counters.
func TestWatchNeedsTheInstrument(t *testing.T) {
	f := observe(t)
	for _, options := range [][]af.AppOption{{quiet()}, {quiet(), af.Instrument(af.NoInstrument{}, observe(t).Instrument)}} {
		app, err := af.Open(t.Context(), memory.New(), options...)
		f.must(err)
		if stop, err := f.Watch(app); stop != nil || af.CodeOf(err) != af.ErrFailedPrecondition {
			t.Errorf("Watch returns %v", err)
		}
		f.must(app.Shutdown(t.Context()))
	}
}

// activity submits n tasks that succeed and n that fail, waits for them, and makes 2n calls. It also observes what is
// rare.
func (f *fixture) activity(client *af.App, n int) {
	f.Helper()
	ctx, q := f.Context(), af.NewQueue[int, int](client, resize)
	for range n {
		for _, what := range []int{succeeds, fails} {
			id, err := q.Submit(ctx, what)
			f.must(err)
			if _, err := q.Wait(ctx, id); (err != nil) != (what == fails) {
				f.Fatal(err)
			}
			if _, err := get.Call(ctx, af.NewClient(client), -what); (err != nil) != (what == fails) {
				f.Fatal(err)
			}
		}
		id := client.NewID()
		for _, e := range []instrument.Event{
			{Kind: instrument.AttemptLost, Queue: resize.Name, Task: id, Owner: id},
			{Kind: instrument.OwnerExpired, Owner: id},
			{Kind: instrument.LogLost, Reason: "file", Records: 1},
			{Kind: instrument.JobFired, Job: "nightly", Task: id},
			{Kind: instrument.JobSkipped, Job: "nightly", Reason: "overlap", Tasks: 1},
		} {
			f.Observe(e)
		}
		_, end := f.Attempt(ctx, instrument.Start{Queue: resize.Name, Task: id})
		end(instrument.End{Attempt: af.AttemptFailed, Code: af.ErrDeadlineExceeded, Abandoned: true})
		f.must(client.Send(ctx, "orders", id))
		_, end = f.Message(ctx, instrument.Start{Queue: "orders", Receive: true, Attempt: 2})
		end(instrument.End{Code: af.ErrNotFound, Dead: af.DeadPermanent})
	}
}

// count returns the sum of all points.
func count(m metricdata.Metrics) (sum float64) {
	for _, v := range points(m) {
		sum += v
	}
	return sum
}

// checkTable compares the metrics with the table, and returns the number of series.
func (f *fixture) checkTable() (series int) {
	f.Helper()
	got := f.collect()
	for _, m := range metric.All() {
		g, ok := got[m.Name]
		if delete(got, m.Name); !ok || len(points(g)) == 0 {
			f.Errorf("%s has no values", m.Name)
			continue
		}
		if g.Unit != m.Unit || g.Description != m.Description || kind(g) != string(m.Kind)+fmt.Sprint(m.Buckets) {
			f.Errorf("%s has the unit %q, the description %q and is %s", m.Name, g.Unit, g.Description, kind(g))
		}
		for attributes := range points(g) {
			if m.Name != "af.backend.op.duration" { // some operations are rare
				series++
			}
			f.checkAttributes(m, attributes)
		}
	}
	for name := range got {
		f.Errorf("%s is not in the table", name)
	}
	return series
}

// kind returns the kind and the buckets of a metric.
func kind(m metricdata.Metrics) string {
	switch data := m.Data.(type) {
	case metricdata.Sum[float64]:
		if data.IsMonotonic {
			return "counter[]"
		}
	case metricdata.Gauge[float64]:
		return "gauge[]"
	case metricdata.Histogram[float64]:
		return "histogram" + fmt.Sprint(data.DataPoints[0].Bounds)
	}
	return fmt.Sprintf("%T", m.Data)
}

// checkAttributes checks that the attributes of a point are those of the metric, and their values few.
func (f *fixture) checkAttributes(m metric.Metric, set attribute.Set) {
	f.Helper()
	known := []string{resize.Name, "nightly", "afgen", "orders/Get", "ok", "success", "failed", "waiting", "pending",
		"running", "retrying", "not_found", "deadline_exceeded", "fired", "overlap", "returned", "unknown", "orders", "send",
		"process", "permanent", "file"}
	for _, a := range set.ToSlice() {
		v := a.Value.AsString()
		if !slices.Contains(m.Attributes, string(a.Key)) ||
			!slices.Contains(known, v) && !(a.Key == "code" && slices.Contains(backend.Codes(), backend.Code(v))) &&
				!slices.Contains([]attribute.Key{"condition", "mode", "port", "op"}, a.Key) ||
			strings.ContainsAny(v, ":/") && a.Key != "rpc.method" {
			f.Errorf("%s has the attribute %s=%s", m.Name, a.Key, v)
		}
	}
}

// begin begins an operation that no App makes, and returns the function that ends it.
func begin(
	method func(context.Context, instrument.Start) (context.Context, func(instrument.End)), ctx context.Context,
	s instrument.Start,
) func(instrument.End) {
	_, end := method(ctx, s)
	return end
}
