package afotel_test

import (
	"context"
	"path/filepath"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// instruments are what BenchmarkInstrument compares: none, one that does nothing, and OpenTelemetry with 1 % sampling.
func instruments(b *testing.B) map[string]func() []af.AppOption {
	return map[string]func() []af.AppOption{
		"none":  func() []af.AppOption { return nil },
		"empty": func() []af.AppOption { return []af.AppOption{af.Instrument(af.NoInstrument{})} },
		"otel": func() []af.AppOption {
			tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(discard{}),
				sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))))
			b.Cleanup(func() { _ = tracers.Shutdown(context.Background()) })
			i, err := afotel.New(afotel.TracerProvider(tracers),
				afotel.MeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))
			if err != nil {
				b.Fatal(err)
			}
			return []af.AppOption{af.Instrument(i)}
		},
	}
}

// discard exports spans to nowhere.
type discard struct{}

func (discard) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }

func (discard) Shutdown(context.Context) error { return nil }

// BenchmarkInstrument measures what an instrument adds to a call, a submission, and a task from its submission to its
// end. On memory there is nothing that the instrument could hide behind.
func BenchmarkInstrument(b *testing.B) {
	b.Run("memory", func(b *testing.B) { instrumented(b, func(*testing.B) af.Backend { return memory.New() }) })
	b.Run("embedded", func(b *testing.B) {
		instrumented(b, func(b *testing.B) af.Backend { return embedded.File(filepath.Join(b.TempDir(), "af.db")) })
	})
}

func instrumented(b *testing.B, backend func(*testing.B) af.Backend) {
	for name, options := range instruments(b) {
		open := func(b *testing.B, register func(*af.App)) *af.App {
			app, err := af.Open(b.Context(), backend(b), append(options(), quiet())...)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { shutdown(app) })
			register(app)
			if err := app.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			return app
		}
		b.Run("call/"+name, func(b *testing.B) {
			client := af.NewClient(open(b, register))
			for b.Loop() {
				if _, err := get.Call(b.Context(), client, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("submit/"+name, func(b *testing.B) {
			q := af.NewVoidQueue[int](open(b, func(*af.App) {}), notes)
			for b.Loop() {
				if _, err := q.Submit(b.Context(), 1); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("task/"+name, func(b *testing.B) {
			q := af.NewVoidQueue[int](open(b, func(app *af.App) { af.RegisterVoidWorker(app, notes, &nothing{}) }), notes)
			for b.Loop() {
				id, err := q.Submit(b.Context(), 1)
				if err == nil {
					err = q.Wait(b.Context(), id)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
