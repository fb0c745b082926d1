package metrics_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/metrics"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

// Before the start and after the end of an App, what it has counted is served. Gauges are served while it runs.
func TestScrapesBeforeStartAndAfterShutdown(t *testing.T) {
	i := metrics.New()
	app := open(t, memory.New(), af.Instrument(i))
	h := metrics.Handler(app)
	if got := scrape(t, h); len(got) > 0 {
		t.Errorf("before the start: %v", got)
	}
	must(t, app.Start(t.Context()))
	if got := scrape(t, h); sum(got["af_worker_slots"]) != 4 {
		t.Errorf("while it runs: %v", got)
	}
	activity(t, app, i, 1)
	must(t, app.Shutdown(t.Context()))
	got := scrape(t, h)
	if sum(got["af_task_submitted_total"]) != 2 {
		t.Errorf("after the end: %v", got)
	}
	for _, m := range metric.All() {
		if m.Kind == metric.Gauge && got[m.Prometheus()] != nil {
			t.Errorf("%s is served after the end", m.Prometheus())
		}
	}
}

// If the store hangs, a scrape ends in time with what the App knows. The reason is logged once.
func TestScrapeWhileStoreHangs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		app, _ := start(t, waiting{memory.New(), nil}, af.Logger(slog.New(slog.NewTextHandler(&log, nil))))
		h := metrics.Handler(app)
		for range 3 {
			begun := time.Now()
			got := scrape(t, h)
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("a scrape took %v", took)
			}
			if got["af_backend_up"] == nil || got["af_worker_slots"] == nil || got["af_queue_tasks"] != nil {
				t.Errorf("got %v", got)
			}
			time.Sleep(metric.Every) // virtual
		}
		if n := strings.Count(log.String(), "metrics of queues and instances are missing"); n != 1 {
			t.Errorf("%d log records:\n%s", n, log.String())
		}
	})
}

// Scrapes at the same time share one read of the store. Those that are too many are refused.
func TestConcurrentScrapes(t *testing.T) {
	const scrapes, most = 12, 10
	answer := make(chan struct{}, 1) // one read
	app, _ := start(t, waiting{memory.New(), answer})
	h := metrics.Handler(app)
	statuses := make(chan int, scrapes)
	for range scrapes {
		go func() {
			status, body := request(t, h, "text/plain")
			if status == http.StatusOK && !strings.Contains(body, "af_queue_tasks{") {
				t.Errorf("a scrape got %s", body)
			}
			statuses <- status
		}()
	}
	for n := range scrapes {
		want := http.StatusServiceUnavailable
		if n == scrapes-most {
			answer <- struct{}{}
		}
		if n >= scrapes-most {
			want = http.StatusOK
		}
		if status := <-statuses; status != want {
			t.Errorf("scrape %d: status %d, want %d", n, status, want)
		}
	}
}

// waiting is a backend whose store answers when it is asked for queues and a value of a channel comes.
type waiting struct {
	af.Backend
	answer <-chan struct{}
}

type waitingStore struct {
	backend.Store
	answer <-chan struct{}
}

// Open implements a backend.
func (w waiting) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := w.Backend.Open(ctx, env)
	if err == nil {
		ports.Store = waitingStore{ports.Store, w.answer}
	}
	return ports, err
}

// Queues implements a store.
func (s waitingStore) Queues(ctx context.Context) ([]backend.QueueCounts, error) {
	select {
	case <-s.answer:
		return s.Store.Queues(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Two Apps of a process have a handler each, or one registry. Their values are apart.
func TestSeveralApps(t *testing.T) {
	b := memory.New()
	registry := prometheus.NewRegistry()
	apps := map[string]*af.App{}
	for name, calls := range map[string]int{"orders": 1, "mail": 2} {
		app, _ := start(t, b)
		apps[name] = app
		for range calls {
			_, err := get.Call(t.Context(), af.NewClient(app), 1)
			must(t, err)
		}
		if got := sum(scrape(t, metrics.Handler(app))["rpc_client_call_duration_seconds"]); got != float64(calls) {
			t.Errorf("%s has %v calls, want %d", name, got, calls)
		}
		must(t, prometheus.WrapRegistererWith(prometheus.Labels{"app": name}, registry).Register(metrics.Collector(app)))
	}
	together := scrape(t, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	for name, want := range map[string]float64{
		"rpc_client_call_duration_seconds": 3, "af_worker_slots": 4 + 4,
	} {
		if got := sum(together[name]); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	plain := prometheus.NewRegistry()
	must(t, plain.Register(metrics.Collector(apps["orders"])))
	for name, app := range apps {
		if err := plain.Register(metrics.Collector(app)); err == nil {
			t.Errorf("%s is registered without a label", name)
		}
	}
}

// However many queues there are, the number of series is limited. Names with invalid bytes break nothing.
func TestSeriesAreLimited(t *testing.T) {
	app, i := start(t, memory.New())
	const queues = metric.MaxSeries + 500
	for n := range queues {
		_, end := i.Submit(t.Context(), instrument.Start{Queue: fmt.Sprint("q", n)})
		end(instrument.End{Stored: 1})
	}
	for _, queue := range []string{"one\xff", "one\xfe"} {
		_, end := i.Attempt(t.Context(), instrument.Start{Queue: queue})
		end(instrument.End{Attempt: af.AttemptSucceeded})
	}
	got := scrape(t, metrics.Handler(app))
	f := got["af_task_submitted_total"]
	if n := len(f.GetMetric()); n != metric.MaxSeries+1 || sum(f) != queues {
		t.Errorf("%d series, of %v tasks", n, sum(f))
	}
	var names []string
	for _, s := range got["af_task_attempts_total"].GetMetric() {
		names = append(names, value(s, "queue"))
	}
	if len(names) != 1 || names[0] != "one\uFFFD" {
		t.Errorf("queues are %q", names)
	}
}

// value returns the value of a label.
func value(s *dto.Metric, label string) string {
	for _, l := range s.GetLabel() {
		if l.GetName() == label {
			return l.GetValue()
		}
	}
	return ""
}

// The collector is complete and consistent in the eyes of the client library, while values are recorded.
func TestCollectorIsConsistent(t *testing.T) {
	app, i := start(t, memory.New())
	registry := prometheus.NewPedanticRegistry()
	must(t, registry.Register(metrics.Collector(app)))
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			for range 20 {
				r, err := http.Get(server.URL)
				if err != nil {
					t.Error(err)
					return
				}
				if r.StatusCode != http.StatusOK {
					t.Errorf("status %d", r.StatusCode)
				}
				_ = r.Body.Close()
			}
		})
	}
	activity(t, app, i, 20)
	running.Wait()
}
