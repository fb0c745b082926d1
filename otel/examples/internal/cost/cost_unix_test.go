//go:build unix

package cost

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/afgen/afgen/internal/devstack"
	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

var (
	get   = &af.Method[int, int]{Service: "orders", Name: "Get"}
	notes = af.Worker{Name: "notes", Type: "Notes", Max: 1}
)

type orders struct{}

func register(app *af.App) {
	af.RegisterService(app, af.Service{Name: "orders", Type: "Orders"}, &orders{},
		af.Bind(get, func(_ context.Context, _ *orders, n int) (int, error) { return n, nil }))
}

type nothing struct{}

func (*nothing) Run(context.Context, int) error { return nil }

// variants are the instruments that are compared: none, one that does nothing, and OpenTelemetry with metrics, which
// samples a fraction of the traces, also with SkipUnsampled.
var variants = []string{"none", "empty", "otel", "skip"}

func instrumented(tb testing.TB, variant string, sampled float64) []af.AppOption {
	switch variant {
	case "none":
		return nil
	case "empty":
		return []af.AppOption{af.Instrument(af.NoInstrument{})}
	}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(discard{}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(sampled))))
	tb.Cleanup(func() { _ = tracers.Shutdown(context.Background()) })
	options := []afotel.Option{afotel.TracerProvider(tracers),
		afotel.MeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))}
	if variant == "skip" {
		options = append(options, afotel.SkipUnsampled())
	}
	i, err := afotel.New(options...)
	if err != nil {
		tb.Fatal(err)
	}
	return []af.AppOption{af.Instrument(i)}
}

// discard exports spans to nowhere.
type discard struct{}

func (discard) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }

func (discard) Shutdown(context.Context) error { return nil }

// An operation is what an instrument adds to. prepare returns a function that does it once, on a running App.
type operation struct {
	name    string
	prepare func(tb testing.TB, b af.Backend, options ...af.AppOption) func() error
}

var operations = []operation{
	{"call", func(tb testing.TB, b af.Backend, options ...af.AppOption) func() error {
		client := af.NewClient(started(tb, b, register, options))
		return func() error {
			_, err := get.Call(tb.Context(), client, 1)
			return err
		}
	}},
	{"submit", func(tb testing.TB, b af.Backend, options ...af.AppOption) func() error {
		q := af.NewVoidQueue[int](started(tb, b, nil, options), notes)
		return func() error {
			_, err := q.Submit(tb.Context(), 1)
			return err
		}
	}},
	{"task", func(tb testing.TB, b af.Backend, options ...af.AppOption) func() error {
		q := af.NewVoidQueue[int](started(tb, b, func(app *af.App) {
			af.RegisterVoidWorker(app, notes, &nothing{})
		}, options), notes)
		return func() error {
			id, err := q.Submit(tb.Context(), 1)
			if err == nil {
				err = q.Wait(tb.Context(), id)
			}
			return err
		}
	}},
}

func started(tb testing.TB, b af.Backend, register func(*af.App), options []af.AppOption) *af.App {
	tb.Helper()
	app, err := af.Open(tb.Context(), b, append(options, af.Logger(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := app.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
	})
	if register != nil {
		register(app)
	}
	if err := app.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return app
}

// What an instrument adds to the allocations of operations. An empty one adds none.
func TestAllocations(t *testing.T) {
	for i, most := range []map[string]float64{
		{"empty": 0, "otel": 13, "skip": 10}, // call: of the SDK 8 or 5, the headers 3, and the ends of two observations
		{"empty": 0, "otel": 7, "skip": 7},   // submit: of the SDK 3, the metadata 3, and the end of an observation
		// task: a submission, of the SDK 5 or 2, its trace as metadata 2, an end, the context of the request for the result
		// 2; one to spare
		{"empty": 0, "otel": 18, "skip": 15},
	} {
		op := operations[i]
		t.Run(op.name, func(t *testing.T) {
			count := func(variant string) float64 {
				return allocations(t, op.prepare(t, memory.New(), instrumented(t, variant, 0)...))
			}
			for variant, bound := range most {
				for round := 1; ; round++ { // others allocate, too
					none, with := count("none"), count(variant)
					t.Logf("%s: %.2f allocations, without an instrument %.2f", variant, with, none)
					if with-none < bound+.5 {
						break
					}
					if round == 5 {
						t.Fatalf("%s adds %.2f allocations, want %v at most", variant, with-none, bound)
					}
				}
			}
		})
	}
}

// allocations returns how often the process allocates while an operation is done, on average.
func allocations(t *testing.T, do func() error) float64 {
	const times = 500
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // as testing.AllocsPerRun does, which returns whole numbers
	var before, after runtime.MemStats
	for i := range times + 1 {
		if i == 1 { // pools and series exist
			runtime.ReadMemStats(&before)
		}
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / times
}

// BenchmarkCost measures what an instrument adds to the processor time of a call, a submission, and a task from its
// submission to its end. An iteration is a round, in which each variant does the operation some hundred times: the
// machine may have other work. It reports the medians of the rounds. On memory there is nothing that the instrument
// could hide behind.
func BenchmarkCost(b *testing.B) {
	for _, on := range []struct {
		name  string
		times int // in a round
		open  func(testing.TB) af.Backend
	}{
		{"memory", 2000, func(testing.TB) af.Backend { return memory.New() }},
		{"embedded", 200, func(tb testing.TB) af.Backend { return embedded.File(filepath.Join(tb.TempDir(), "af.db")) }},
		{"servers", 200, onServers},
	} {
		for _, op := range operations {
			b.Run(on.name+"/"+op.name, func(b *testing.B) { op.compare(b, on.times, on.open) })
		}
	}
}

// onServers returns a backend on servers, in a database and a virtual host of its own.
func onServers(tb testing.TB) af.Backend {
	tb.Helper()
	cfg, err := config.Parse("config.yaml", fmt.Appendf(nil, "mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
		devstack.Mongo(tb), devstack.Redis(tb), devstack.AMQP(tb)), nil)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Logger = config.Logger{} // no files
	return servers.From(cfg)
}

func (o operation) compare(b *testing.B, times int, open func(testing.TB) af.Backend) {
	var do []func() error
	for _, v := range variants {
		do = append(do, o.prepare(b, open(b), instrumented(b, v, 0.01)...))
	}
	costs := make([][]time.Duration, len(variants))
	for round := 0; b.Loop(); round++ {
		for i := range variants {
			i = (i + round) % len(variants)
			runtime.GC() // of what the others have left
			before := processorTime(b)
			for range times {
				if err := do[i](); err != nil {
					b.Fatal(err)
				}
			}
			costs[i] = append(costs[i], (processorTime(b)-before)/time.Duration(times))
		}
	}
	none := median(costs[0])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(none.Nanoseconds()), "none-ns")
	for i, v := range variants[1:] {
		b.ReportMetric(100*(float64(median(costs[i+1]))/float64(none)-1), v+"-%")
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// processorTime returns how long the process has run on any processor.
func processorTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSDK measures what a call costs OpenTelemetry's SDK alone, without afgen: two spans, two values of histograms
// whose attributes are known before, and the headers between client and server.
func BenchmarkSDK(b *testing.B) {
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))))
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())).Meter("m")
	histogram, err := meter.Float64Histogram("h")
	if err != nil {
		b.Fatal(err)
	}
	tracer, w3c := tracers.Tracer("t"), propagation.TraceContext{}
	method := attribute.String("rpc.method", "orders/Get")
	client := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(method)}
	server := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(method)}
	set := []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(method))}
	b.ReportAllocs()
	for b.Loop() {
		ctx, outer := tracer.Start(context.Background(), "orders/Get", client...)
		headers := propagation.MapCarrier{}
		w3c.Inject(ctx, headers)
		remote, inner := tracer.Start(w3c.Extract(context.Background(), headers), "orders/Get", server...)
		histogram.Record(remote, 0.001, set...)
		inner.End()
		histogram.Record(ctx, 0.001, set...)
		outer.End()
	}
}
