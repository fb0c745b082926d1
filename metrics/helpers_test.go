package metrics_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/afgen/afgen/metrics"
	af "github.com/afgen/afgen/runtime"
)

// patience limits how long a test waits for what must happen.
const patience = 30 * time.Second

var (
	resize = af.Worker{Name: "resize", Type: "Resize", Max: 4, Weight: 1}
	get    = &af.Method[int, int]{Service: "orders", Name: "Get", Timeout: patience}
)

type orders struct{}

// register registers what the generator makes of a service with one method. It fails for negative numbers.
func register(app *af.App) {
	af.RegisterService(app, af.Service{Name: "orders", Type: "Orders"}, &orders{},
		af.Bind(get, func(_ context.Context, _ *orders, n int) (int, error) {
			if n < 0 {
				return 0, af.ErrNotFound
			}
			return n, nil
		}))
}

// resizer fails for negative numbers.
type resizer struct{}

func (*resizer) Run(_ context.Context, n int) (int, error) {
	if n < 0 {
		return 0, af.Permanent(errors.New("negative"))
	}
	return n, nil
}

func quiet() af.AppOption { return af.Logger(slog.New(slog.DiscardHandler)) }

// open opens an App with a service and a worker. It is shut down at the end of the test.
func open(t *testing.T, b af.Backend, options ...af.AppOption) *af.App {
	t.Helper()
	app, err := af.Open(t.Context(), b, append([]af.AppOption{quiet()}, options...)...)
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = app.Shutdown(ctx)
	})
	register(app)
	af.RegisterWorker(app, resize, &resizer{})
	return app
}

// start starts an App with an instrument.
func start(t *testing.T, b af.Backend, options ...af.AppOption) (*af.App, *metrics.Instrument) {
	t.Helper()
	i := metrics.New()
	app := open(t, b, append(options, af.Instrument(i))...)
	must(t, app.Start(t.Context()))
	return app, i
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// request returns the status and the text that a handler serves in a format.
func request(t *testing.T, h http.Handler, format string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", format)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Body)
	must(t, err)
	return w.Code, string(body)
}

// scrape returns what a handler serves, by name.
func scrape(t *testing.T, h http.Handler) map[string]*dto.MetricFamily {
	t.Helper()
	status, body := request(t, h, "text/plain")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	must(t, err)
	return families
}

// sum returns the sum of the values, or the number of observations, of all series.
func sum(f *dto.MetricFamily) (total float64) {
	for _, m := range f.GetMetric() {
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return total
}

// within waits until a condition holds.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
