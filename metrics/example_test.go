package metrics_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/afgen/afgen/metrics"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Serve the metrics of an App.
func Example() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), af.Instrument(metrics.New()), quiet())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", metrics.Handler(app))

	register(app) // the generated function RegisterOrders
	if err := app.Start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	if _, err := get.Call(ctx, af.NewClient(app), 1); err != nil { // NewOrdersClient(app).Get(ctx, 1)
		fmt.Fprintln(os.Stderr, err)
	}
	show(mux, "rpc_server_call_duration_seconds_count", "af_instances ")
	if err := app.Shutdown(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// af_instances 1
	// rpc_server_call_duration_seconds_count{error_type="",rpc_method="orders/Get",rpc_response_status_code="ok",rpc_system_name="afgen"} 1
}

// Serve the metrics of an App with those of the process and of the Go runtime.
func ExampleCollector() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), af.Instrument(metrics.New()), quiet())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		metrics.Collector(app),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))

	if err := app.Start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	show(mux, "af_settle_backlog ", "# TYPE go_goroutines")
	if err := app.Shutdown(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// af_settle_backlog 0
	// # TYPE go_goroutines gauge
}

// show prints the lines of a scrape that begin with one of these.
func show(h http.Handler, prefixes ...string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				fmt.Print(line)
			}
		}
	}
}
