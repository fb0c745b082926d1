package metrics_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/afgen/afgen/metrics"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

// Every metric of the table is served with its type, help, buckets and labels, and nothing else is. Many tasks make no
// more series than few.
func TestHandlerServesTheTable(t *testing.T) {
	app, i := start(t, memory.New())
	h := metrics.Handler(app)
	activity(t, app, i, 5)
	await(t, h, 5)
	before := checkTable(t, scrape(t, h))
	activity(t, app, i, 45)
	await(t, h, 50)
	if after := checkTable(t, scrape(t, h)); after != before {
		t.Errorf("%d series after 100 tasks, %d after 10", after, before)
	}
}

// await waits until what n activities do is counted, and no more.
func await(t *testing.T, h http.Handler, n float64) {
	t.Helper()
	want := map[string]float64{
		"af_task_submitted_total": 2 * n, "af_task_run_seconds": 3 * n, "af_task_total_seconds": 2 * n,
		"af_task_ended_total": 2 * n, "af_task_crashes_total": n, "af_job_fires_total": 2 * n,
		"rpc_client_call_duration_seconds": 2 * n, "rpc_server_call_duration_seconds": 2 * n,
		"af_worker_slots": 4, "af_instances": 1,
	}
	within(t, fmt.Sprint(want), func() bool {
		got := scrape(t, h)
		for name, v := range want {
			if sum(got[name]) != v {
				return false
			}
		}
		return true
	})
}

// activity submits n tasks that succeed and n that fail, waits for them, and makes 2n calls. It also observes what is
// rare.
func activity(t *testing.T, app *af.App, i *metrics.Instrument, n int) {
	t.Helper()
	ctx, q := t.Context(), af.NewQueue[int, int](app, resize)
	for range n {
		for _, what := range []int{1, -1} {
			id, err := q.Submit(ctx, what)
			must(t, err)
			if _, err := q.Wait(ctx, id); (err != nil) != (what < 0) {
				t.Fatal(err)
			}
			if _, err := get.Call(ctx, af.NewClient(app), what); (err != nil) != (what < 0) {
				t.Fatal(err)
			}
		}
		id := app.NewID()
		for _, e := range []instrument.Event{
			{Kind: instrument.AttemptLost, Queue: resize.Name, Task: id, Owner: id},
			{Kind: instrument.OwnerExpired, Owner: id},
			{Kind: instrument.LogLost, Reason: "file", Records: 1},
			{Kind: instrument.Requested, Port: "store", Op: "get"},
			{Kind: instrument.JobFired, Job: "nightly", Task: id},
			{Kind: instrument.JobSkipped, Job: "nightly", Reason: "overlap", Tasks: 1},
		} {
			i.Observe(e)
		}
		_, end := i.Attempt(ctx, instrument.Start{Queue: resize.Name, Task: id})
		end(instrument.End{Attempt: af.AttemptFailed, Code: af.ErrDeadlineExceeded, Abandoned: true})
		must(t, app.Send(ctx, "orders", id))
		_, end = i.Message(ctx, instrument.Start{Queue: "orders", Receive: true, Attempt: 2})
		end(instrument.End{Code: af.ErrNotFound, Dead: af.DeadPermanent})
	}
}

// checkTable compares what is served with the table, and returns the number of series.
func checkTable(t *testing.T, got map[string]*dto.MetricFamily) (series int) {
	t.Helper()
	types := map[metric.Kind]dto.MetricType{
		metric.Counter: dto.MetricType_COUNTER, metric.Gauge: dto.MetricType_GAUGE, metric.Histogram: dto.MetricType_HISTOGRAM,
	}
	for _, m := range metric.All() {
		f := got[m.Prometheus()]
		delete(got, m.Prometheus())
		if len(f.GetMetric()) == 0 {
			t.Errorf("%s has no values", m.Prometheus())
			continue
		}
		if f.GetType() != types[m.Kind] || f.GetHelp() != m.Description {
			t.Errorf("%s is a %v: %s", f.GetName(), f.GetType(), f.GetHelp())
		}
		for _, s := range f.GetMetric() {
			if m.Name != "af.backend.op.duration" { // some operations are rare
				series++
			}
			checkSeries(t, m, s)
		}
	}
	for name := range got {
		t.Errorf("%s is not in the table", name)
	}
	return series
}

// checkSeries checks the buckets and the labels of a series. The values of labels are few.
func checkSeries(t *testing.T, m metric.Metric, s *dto.Metric) {
	t.Helper()
	var bounds []float64
	for _, b := range s.GetHistogram().GetBucket() {
		bounds = append(bounds, b.GetUpperBound())
	}
	if n := len(bounds); n > 0 {
		bounds = bounds[:n-1] // +Inf
	}
	if !slices.Equal(bounds, m.Buckets) {
		t.Errorf("%s has the buckets %v, want %v", m.Prometheus(), bounds, m.Buckets)
	}
	known := []string{"", resize.Name, "nightly", "afgen", "orders/Get", "ok", "success", "failed", "waiting", "pending",
		"running", "retrying", "not_found", "deadline_exceeded", "fired", "overlap", "returned", "unknown",
		"orders", "send", "process", "permanent", "file", "store", "docs", "transport", "coordinator"}
	var names []string
	for _, l := range s.GetLabel() {
		names = append(names, l.GetName())
		switch l.GetName() {
		case "condition", "mode", "op": // names in the code of backends
			continue
		}
		if l.GetName() == "code" && slices.Contains(backend.Codes(), backend.Code(l.GetValue())) {
			continue
		}
		if !slices.Contains(known, l.GetValue()) {
			t.Errorf("%s has the label %s=%q", m.Prometheus(), l.GetName(), l.GetValue())
		}
	}
	var want []string
	for _, a := range m.Attributes {
		want = append(want, strings.ReplaceAll(a, ".", "_"))
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("%s has the labels %q, want %q", m.Prometheus(), names, want)
	}
}

// Without an instrument, or with that of another App, each scrape fails with the reason.
func TestMisuseIsRefused(t *testing.T) {
	shared := metrics.New()
	first := open(t, memory.New(), af.Instrument(nil, af.NoInstrument{}), af.Instrument(shared))
	if all := first.Instruments(); len(all) != 2 || all[1] != shared {
		t.Errorf("the instruments are %v", all)
	}
	if status, body := request(t, metrics.Handler(first), ""); status != http.StatusOK {
		t.Errorf("status %d: %s", status, body)
	}
	for want, app := range map[string]*af.App{
		"af.Instrument(metrics.New())": open(t, memory.New()),
		"call metrics.New for each":    open(t, memory.New(), af.Instrument(shared)),
	} {
		status, body := request(t, metrics.Handler(app), "")
		if status != 500 || !strings.HasPrefix(body, "failed_precondition: ") || !strings.Contains(body, want) {
			t.Errorf("status %d: %s, want %s", status, body, want)
		}
	}
	if status, body := request(t, metrics.Handler(first), ""); status != http.StatusOK { // again
		t.Errorf("status %d: %s", status, body)
	}
}
