package traces

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/afgen/afgen/internal/devstack"
	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

// patience limits how long a test waits for what must happen.
const patience = time.Minute

// A system is where Apps meet. It is passed to other processes as JSON.
type system struct {
	Kind   string
	At     string     // a file, or a config.yaml
	memory af.Backend // of this process
}

func (s system) backend() (af.Backend, error) {
	switch s.Kind {
	case "memory":
		return s.memory, nil
	case "embedded":
		return embedded.File(s.At), nil
	}
	cfg, err := config.Parse("config.yaml", []byte(s.At), nil)
	cfg.Logger = config.Logger{} // no files
	return servers.From(cfg), err
}

// onEach runs a test on each kind of system, each time on an empty one.
func onEach(t *testing.T, test func(t *testing.T, s system)) {
	t.Run("memory", func(t *testing.T) { test(t, system{Kind: "memory", memory: memory.New()}) })
	t.Run("embedded", func(t *testing.T) {
		test(t, system{Kind: "embedded", At: filepath.Join(t.TempDir(), "af.db")})
	})
	t.Run("servers", func(t *testing.T) {
		test(t, system{Kind: "servers", At: fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
			devstack.Mongo(t), devstack.Redis(t), devstack.AMQP(t))})
	})
}

// A fixture has an instrument whose spans and metrics stay in memory, and files with the spans of other processes.
type fixture struct {
	*testing.T
	*afotel.Instrument
	system  system
	tracers *sdktrace.TracerProvider
	spans   *tracetest.SpanRecorder
	reader  *sdkmetric.ManualReader
	file    string // spans of child processes
}

func observe(t *testing.T, s system, options ...afotel.Option) *fixture {
	t.Helper()
	f := &fixture{T: t, system: s, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader(),
		file: filepath.Join(t.TempDir(), "spans")}
	t.Setenv(spansFile, f.file)
	f.tracers = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(f.spans))
	var err error
	f.Instrument, err = afotel.New(append([]afotel.Option{
		afotel.TracerProvider(f.tracers), afotel.Propagator(propagation.TraceContext{}),
		afotel.MeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(f.reader))),
	}, options...)...)
	must(t, err)
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start opens an App with the instrument, registers and starts it. It ends with the test t.
func (f *fixture) start(t *testing.T, around func(af.Backend) af.Backend, register func(*af.App),
	options ...af.AppOption,
) *af.App {
	t.Helper()
	b, err := f.system.backend()
	must(t, err)
	if around != nil {
		b = around(b)
	}
	app, err := af.Open(f.Context(), b, append(options, af.Instrument(f.Instrument), quiet())...)
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = app.Shutdown(ctx) // a handler of the test may still run
	})
	if register != nil {
		register(app)
	}
	must(t, app.Start(f.Context()))
	return app
}

// request begins a span like that of an HTTP request, and ends it.
func (f *fixture) request(t *testing.T) (context.Context, trace.SpanContext) {
	ctx, span := f.tracers.Tracer("test").Start(t.Context(), "GET /")
	span.End()
	return ctx, span.SpanContext()
}

func quiet() af.AppOption { return af.Logger(slog.New(slog.DiscardHandler)) }

// within waits until a condition holds.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// A span is an ended span of this process or of a child.
type span struct {
	Name, Kind, Status, Text, Trace, ID, Parent string
	Begun                                       time.Time
	Links                                       []link
	Attributes, Types                           map[string]string
	Child                                       bool `json:"-"` // of a child process
}

type link struct{ Kind, Trace, ID string }

func toSpan(s sdktrace.ReadOnlySpan) span {
	out := span{Name: s.Name(), Kind: s.SpanKind().String(), Status: strings.ToLower(s.Status().Code.String()),
		Text: s.Status().Description, Trace: s.SpanContext().TraceID().String(), ID: s.SpanContext().SpanID().String(),
		Begun: s.StartTime(), Attributes: map[string]string{}, Types: map[string]string{}}
	if s.Parent().IsValid() {
		out.Parent = s.Parent().SpanID().String()
	}
	for _, l := range s.Links() {
		to := link{Trace: l.SpanContext.TraceID().String(), ID: l.SpanContext.SpanID().String()}
		for _, a := range l.Attributes {
			to.Kind = a.Value.AsString()
		}
		out.Links = append(out.Links, to)
	}
	for _, a := range s.Attributes() {
		out.Attributes[string(a.Key)], out.Types[string(a.Key)] = a.Value.String(), strings.ToLower(a.Value.Type().String())
	}
	return out
}

// ended returns the spans that have ended, in the order of their begins.
func (f *fixture) ended() (all []span) {
	for _, s := range f.spans.Ended() {
		all = append(all, toSpan(s))
	}
	text, err := os.ReadFile(f.file)
	if err != nil && !os.IsNotExist(err) {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		s := span{Child: true}
		if json.Unmarshal([]byte(line), &s) == nil { // the last line may not be complete
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b span) int { return a.Begun.Compare(b.Begun) })
	return all
}

// matching returns the ended spans for which holds returns true.
func (f *fixture) matching(holds func(span) bool) (found []span) {
	for _, s := range f.ended() {
		if holds(s) {
			found = append(found, s)
		}
	}
	return found
}

// of returns the attempts of a task, also those that are lost.
func (f *fixture) of(task string) []span {
	return f.matching(func(s span) bool {
		return s.Attributes["messaging.message.id"] == task &&
			(strings.HasPrefix(s.Name, "process ") || strings.HasPrefix(s.Name, "lost "))
	})
}

// endedOnce checks that each span that was started in this process ends, once.
func (f *fixture) endedOnce() {
	f.Helper()
	within(f.T, "every span has ended", func() bool { return len(f.spans.Ended()) >= len(f.spans.Started()) })
	ends := map[string]int{}
	for _, s := range f.spans.Ended() {
		ends[s.SpanContext().SpanID().String()]++
	}
	for _, s := range f.spans.Started() {
		if n := ends[s.SpanContext().SpanID().String()]; n != 1 {
			f.Errorf("span %s has ended %d times", s.Name(), n)
		}
	}
}
