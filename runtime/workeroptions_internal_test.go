package runtime

import (
	"context"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// configured is a backend made from a configuration.
type configured struct {
	Backend
	settings backend.Settings
}

func (c configured) Settings() backend.Settings { return c.settings }

type configuredWorker struct{}

func (*configuredWorker) Run(context.Context, int) error { return nil }

// Each layer overrides the one below it, setting by setting: directive, RegisterX, config.yaml, ConfigureWorker.
func TestLayersOfWorkerSettings(t *testing.T) {
	directive := Worker{
		Name: "w", Type: "W", Max: 1, Retries: 2, Timeout: time.Minute, Backoff: time.Second, BackoffMax: time.Minute,
	}
	for _, tt := range []struct {
		name      string
		register  []WorkerOption
		config    backend.WorkerSettings
		configure []WorkerOption
		want      func(w *Worker) // changes the directive's
	}{
		{name: "none", register: []WorkerOption{nil}, want: func(*Worker) {}},
		{name: "register", register: []WorkerOption{Max(3)}, want: func(w *Worker) { w.Max = 3 }},
		{
			name: "config", register: []WorkerOption{Max(3), Retries(3)}, config: backend.WorkerSettings{Max: new(4)},
			want: func(w *Worker) { w.Max, w.Retries = 4, 3 },
		},
		{
			name: "configure", register: []WorkerOption{Max(3), Timeout(3)},
			config: backend.WorkerSettings{Max: new(4), Retries: new(4)}, configure: []WorkerOption{Max(5)},
			want: func(w *Worker) { w.Max, w.Retries, w.Timeout = 5, 4, 3 },
		},
		{
			name: "zeros", register: []WorkerOption{Retries(0), Timeout(0)},
			want: func(w *Worker) { w.Retries, w.Timeout = 0, 0 },
		},
		{
			name: "backoff", register: []WorkerOption{Backoff(2*time.Second, 0)},
			want: func(w *Worker) { w.Backoff, w.BackoffMax = 2*time.Second, 0 },
		},
		{
			name: "backoff_raises_maximum", config: backend.WorkerSettings{Backoff: new(time.Hour)},
			want: func(w *Worker) { w.Backoff, w.BackoffMax = time.Hour, time.Hour },
		},
		{
			name: "maximum_lowers_backoff", config: backend.WorkerSettings{BackoffMax: new(time.Millisecond)},
			want: func(w *Worker) { w.Backoff, w.BackoffMax = time.Millisecond, time.Millisecond },
		},
		{name: "last_option", register: []WorkerOption{Max(3), Max(6)}, want: func(w *Worker) { w.Max = 6 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := configured{memory.New(), backend.Settings{Workers: map[string]backend.WorkerSettings{"w": tt.config}}}
			app, err := Open(t.Context(), b, Logger(slog.New(slog.DiscardHandler)), ConfigureWorker("w", tt.configure...),
				ConfigureWorker("another", Max(7)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = app.Shutdown(context.Background()) })
			RegisterVoidWorker(app, directive, &configuredWorker{}, tt.register...)
			want := directive
			tt.want(&want)
			if got := app.workers[0]; got.Err != nil || !reflect.DeepEqual(got.Worker, want) {
				t.Errorf("got %+v, %v\nwant %+v", got.Worker, got.Err, want)
			}
		})
	}
}
