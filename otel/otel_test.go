package afotel_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument"
)

// attempt observes an attempt and returns its span. creation is the traceparent of the submission.
func (f *fixture) attempt(creation string, s instrument.Start, e instrument.End) sdktrace.ReadOnlySpan {
	f.Helper()
	s.Queue = "q"
	begin(f.Attempt, f.Extract(f.Context(), map[string]string{"traceparent": creation}), s)(e)
	spans := f.named("process q")
	return spans[len(spans)-1]
}

const (
	creation = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	previous = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

// Attempts that begin long after the submission begin a trace, and are linked.
func TestChildWithin(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options []afotel.Option
		age     time.Duration
		child   bool
	}{
		{"default", nil, 10 * time.Minute, true},
		{"later", nil, 10*time.Minute + 1, false},
		{"option", []afotel.Option{afotel.ChildWithin(time.Second)}, 2 * time.Second, false},
		{"never", []afotel.Option{afotel.ChildWithin(0)}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := observe(t, tt.options...)
			s := f.attempt(creation, instrument.Start{Task: "t", Age: tt.age, Attempt: 2, Previous: previous}, instrument.End{})
			f.Observe(instrument.Event{Kind: instrument.AttemptLost, Queue: "q", Duration: tt.age,
				Metadata: map[string]string{"traceparent": creation}})
			for _, s := range []sdktrace.ReadOnlySpan{s, f.named("lost q")[0]} {
				child := s.SpanContext().TraceID().String() == creation[3:35]
				if child != tt.child || s.Parent().IsValid() != tt.child {
					t.Errorf("%s is in the trace %v", s.Name(), s.SpanContext().TraceID())
				}
				if links(s)["creation"].String() != creation[36:52] {
					t.Errorf("%s has links %v", s.Name(), links(s))
				}
			}
			if links(s)["previous_attempt"].String() != previous[36:52] {
				t.Errorf("links are %v", links(s))
			}
		})
	}
}

// Texts of errors are recorded only if the option gives them. Invalid UTF-8 would make an exporter refuse the batch.
func TestErrorText(t *testing.T) {
	failed := instrument.End{Attempt: af.AttemptFailed, Code: af.ErrNotFound, Err: errors.New("no user \xff")}
	f := observe(t)
	f.is(f.attempt(creation, instrument.Start{}, failed), codes.Error, "failed", "not_found")
	f = observe(t, afotel.ErrorText(func(err error) string { return err.Error() }))
	if got := f.attempt(creation, instrument.Start{}, failed).Status(); got.Description != "no user \uFFFD" {
		t.Errorf("the status is %q", got.Description)
	}
}

// What the current span does not have is not inherited from another one.
func TestInject(t *testing.T) {
	f := observe(t, afotel.Propagator(propagation.NewCompositeTextMapPropagator(
		propagation.TraceContext{}, propagation.Baggage{})))
	if got := f.Inject(t.Context()); got != nil {
		t.Errorf("without a span: %v", got)
	}
	ctx := f.Extract(t.Context(), map[string]string{"traceparent": creation, "baggage": "user=1"})
	want := map[string]string{"traceparent": creation, "baggage": "user=1", "tracestate": ""}
	if got := f.Inject(ctx); !maps.Equal(got, want) {
		t.Errorf("with a span: %v", got)
	}
	if baggage.FromContext(ctx).Member("user").Value() != "1" || f.Trace(ctx) != creation || f.Trace(t.Context()) != "" {
		t.Errorf("the context has the trace %q", f.Trace(ctx))
	}
	unsampled := strings.TrimSuffix(creation, "1") + "0"
	if got := f.Trace(f.Extract(t.Context(), map[string]string{"traceparent": unsampled})); got != unsampled {
		t.Errorf("the trace is %q, want %q", got, unsampled)
	}
}

// A program that sets up nothing gets W3C Trace Context, and no span.
func TestDefaults(t *testing.T) {
	i, err := afotel.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := i.Extract(t.Context(), map[string]string{"traceparent": creation})
	ctx, end := i.Submit(ctx, instrument.Start{Queue: "q", Job: "j"})
	end(instrument.End{})
	if got := i.Inject(ctx); got["traceparent"] != creation {
		t.Errorf("Inject returns %v", got)
	}
	if _, err := afotel.New(afotel.ChildWithin(-1)); !errors.Is(err, af.ErrInvalidArgument) {
		t.Errorf("a negative ChildWithin: %v", err)
	}
}

// A sampler sees what spans are about, and what is not sampled costs no span.
func TestSampling(t *testing.T) {
	f := observe(t)
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(f.spans), sdktrace.WithSampler(only("submit")))
	i, err := afotel.New(afotel.TracerProvider(tracers))
	f.must(err)
	begin(i.Submit, t.Context(), instrument.Start{Queue: "q", Job: "j"})(instrument.End{Stored: 1, Err: af.ErrInternal})
	for _, operation := range []func(context.Context, instrument.Start) (context.Context, func(instrument.End)){
		i.Call, i.Handle, i.Attempt,
	} {
		begin(operation, t.Context(), instrument.Start{Queue: "q"})(instrument.End{})
	}
	if ended := f.spans.Ended(); len(ended) != 1 || ended[0].Name() != "submit q" {
		t.Errorf("%d spans", len(ended))
	}
	f.endedOnce()
}

// only samples spans with an operation.
type only string

func (o only) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	for _, a := range p.Attributes {
		if a.Key == "messaging.operation.name" && a.Value.AsString() == string(o) {
			return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
		}
	}
	return sdktrace.SamplingResult{Decision: sdktrace.Drop}
}

func (only) Description() string { return "only" }

// A span of several tasks is no PRODUCER, as conventions have it.
func TestSubmitMany(t *testing.T) {
	f := observe(t)
	begin(f.Submit, t.Context(), instrument.Start{Queue: "q", Tasks: 3})(
		instrument.End{Stored: 2, Err: af.ErrUnavailable, Code: af.ErrUnavailable})
	s := f.named("submit q")[0]
	if s.SpanKind() != trace.SpanKindClient || value(s, "messaging.batch.message_count") != "3" ||
		value(s, "af.task.stored") != "2" || value(s, "error.type") != "unavailable" || s.Status().Code != codes.Error {
		t.Errorf("%v, %v, %v", s.SpanKind(), s.Status(), s.Attributes())
	}
}

var notes = af.Worker{Name: "notes", Type: "Notes", Max: 1}

type nothing struct{}

func (*nothing) Run(context.Context, int) error { return nil }

// With SkipUnsampled, what is below an unsampled span has its ids and no spans, and what is below a sampled one has
// spans. Metrics do not depend on it. Without the option the sampler decides, which samples all here.
func TestSkipUnsampled(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	for _, skip := range []bool{false, true} {
		var options []afotel.Option
		if skip {
			options = append(options, afotel.SkipUnsampled())
		}
		f := observe(t, options...)
		app := f.start(memory.New(), func(app *af.App) { af.RegisterVoidWorker(app, notes, &nothing{}) })
		for _, flags := range []trace.TraceFlags{0, trace.FlagsSampled} {
			parent := trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: flags, Remote: true})
			q := af.NewVoidQueue[int](app, notes)
			id, err := q.Submit(trace.ContextWithSpanContext(t.Context(), parent), 1)
			f.must(err)
			f.must(q.Wait(t.Context(), id))
			task, err := app.GetTask(t.Context(), id)
			f.must(err)
			skipped := skip && flags == 0
			if same := strings.Contains(task.Trace, parent.SpanID().String()); same != skipped {
				t.Errorf("skip %v, flags %v: the task has the trace %s", skip, flags, task.Trace)
			}
			if !skipped {
				f.of("submit notes", id, 1)
				f.of("process notes", id, 1)
			}
		}
		want := 4 // spans
		if skip {
			want = 2
		}
		f.endedOnce()
		if n := len(f.spans.Ended()); n != want {
			t.Errorf("skip %v: %d spans, want %d", skip, n, want)
		}
		for _, n := range points(f.collect()["af.task.run"]) {
			if n != 2 {
				t.Errorf("skip %v: af.task.run counts %v attempts, want 2", skip, n)
			}
		}
	}
}

// flushed is a provider of spans that counts flushes.
type flushed struct {
	trace.TracerProvider
	n   int
	err error
}

func (p *flushed) ForceFlush(context.Context) error {
	p.n++
	return p.err
}

// The providers are flushed before a child process exits. A failure is reported to OpenTelemetry's error handler.
func TestFlush(t *testing.T) {
	var reported error
	handler := otel.GetErrorHandler()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { reported = err }))
	defer otel.SetErrorHandler(handler)
	p := &flushed{TracerProvider: sdktrace.NewTracerProvider()}
	f := observe(t, afotel.TracerProvider(p))
	if f.Flush(t.Context()); p.n != 1 || reported != nil {
		t.Errorf("%d flushes, %v", p.n, reported)
	}
	p.err = errors.New("the collector is down")
	if f.Flush(t.Context()); p.n != 2 || !errors.Is(reported, p.err) {
		t.Errorf("%d flushes, %v", p.n, reported)
	}
}
