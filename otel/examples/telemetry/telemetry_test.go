package telemetry_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"go.opentelemetry.io/otel"

	"github.com/afgen/afgen/otel/examples/telemetry"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// The child processes of isolation=process run main again, and so this.
func TestMain(m *testing.M) {
	if !af.IsChildProcess() {
		os.Exit(m.Run())
	}
	fmt.Fprintln(os.Stderr, isolated(context.Background()))
	os.Exit(1)
}

// isolated does not return if it runs the task.
func isolated(ctx context.Context) error {
	if _, err := telemetry.Setup(ctx, "test"); err != nil {
		return err
	}
	app, err := open(ctx)
	if err != nil {
		return err
	}
	return app.Start(ctx)
}

func open(ctx context.Context) (*af.App, error) {
	app, err := af.Open(ctx, memory.New())
	if err == nil {
		af.RegisterVoidWorker(app, render, &renderer{})
	}
	return app, err
}

var render = af.Worker{Name: "render", Type: "Render", Max: 1, Isolation: "process"}

type renderer struct{}

func (*renderer) Run(context.Context, int) error { return nil }

// A port for Prometheus that is in use is an error of a program, but not of its child processes: the parent has it.
func TestChildProcessesDoNotListen(t *testing.T) {
	ctx := t.Context()
	l, err := net.Listen("tcp", "localhost:0") // as the exporter does
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
	t.Setenv("OTEL_EXPORTER_PROMETHEUS_PORT", fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	if _, err := telemetry.Setup(ctx, "test"); err == nil {
		t.Error("two programs listen on one port")
	}

	app, err := open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := app.Shutdown(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	if err := app.Start(ctx); err != nil {
		t.Fatal(err)
	}
	q := af.NewVoidQueue[int](app, render)
	id, err := q.Submit(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Wait(ctx, id); err != nil {
		t.Error(err)
	}
}

// A shutdown interrupts an export of metrics and sends them again. Only if the latter fails something is lost, and that
// is logged: the line of the former would silence it.
func TestShutdownDuringExport(t *testing.T) {
	for _, tt := range []struct {
		name     string
		last     int // status that answers the last export
		warnings int
	}{{"sent", http.StatusOK, 0}, {"lost", http.StatusBadRequest, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			first, requests := make(chan struct{}), make(chan struct{}, 1)
			requests <- struct{}{}
			collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // an interrupted request
				select {
				case <-requests:
					close(first)
					<-r.Context().Done()
				default:
					w.WriteHeader(tt.last)
				}
			}))
			defer collector.Close()
			t.Setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", collector.URL)
			t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "1")
			var log bytes.Buffer
			before := slog.Default()
			slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
			defer slog.SetDefault(before)
			shutdown, err := telemetry.Setup(t.Context(), "test")
			if err != nil {
				t.Fatal(err)
			}
			counter, err := otel.Meter("test").Int64Counter("test")
			if err != nil {
				t.Fatal(err)
			}
			counter.Add(t.Context(), 1)
			<-first
			shutdown(t.Context())
			if n := bytes.Count(log.Bytes(), []byte("WARN")); n != tt.warnings {
				t.Errorf("%d warnings, want %d:\n%s", n, tt.warnings, &log)
			}
		})
	}
}
