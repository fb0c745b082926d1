package afotel_test

import (
	"context"
	"testing"
	"unicode/utf8"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/instrument"
)

// What a peer sends may be no UTF-8, for which exporters refuse all spans of a request.
func TestAttributesAreUTF8(t *testing.T) {
	f := observe(t)
	const bad = "bad\xff"
	start := instrument.Start{
		Service: bad, Method: bad, Call: bad, Caller: bad, Queue: bad, Task: bad, Source: bad, DoneOf: bad, RetryOf: bad,
		Job: bad, Receive: true,
	}
	for _, operation := range []func(context.Context, instrument.Start) (context.Context, func(instrument.End)){
		f.Call, f.Handle, f.Submit, f.Attempt, f.Message,
	} {
		begin(operation, t.Context(), start)(instrument.End{Server: bad, Task: bad, Code: bad, Err: af.Code(bad)})
	}
	f.Observe(instrument.Event{
		Kind: instrument.AttemptLost, Instance: "i", Queue: bad, Task: bad, Owner: bad, Code: bad,
	})
	if n := len(f.spans.Ended()); n != 7 {
		t.Errorf("%d spans have ended, want 7", n)
	}
	for _, s := range f.spans.Ended() {
		for _, a := range s.Attributes() {
			if !utf8.ValidString(a.Value.String()) {
				t.Errorf("span %q has %s %q", s.Name(), a.Key, a.Value.String())
			}
		}
		if !utf8.ValidString(s.Name()) || !utf8.ValidString(s.Status().Description) {
			t.Errorf("span %q, %q", s.Name(), s.Status().Description)
		}
	}
}

// A child process flushes the global providers, also if the program has set them after New.
func TestFlushOfGlobalProvider(t *testing.T) {
	i, err := afotel.New()
	if err != nil {
		t.Fatal(err)
	}
	exported := tracetest.NewInMemoryExporter()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exported))
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(tracers)
	t.Cleanup(func() {
		otel.SetTracerProvider(before)
		_ = tracers.Shutdown(context.Background())
	})
	begin(i.Submit, t.Context(), instrument.Start{Queue: "q"})(instrument.End{Stored: 1})
	i.Flush(t.Context())
	if n := len(exported.GetSpans()); n != 1 {
		t.Errorf("%d spans are exported, want 1", n)
	}
}

// A message of a sender without spans begins a trace. The span of the context given to App.Receive, which may be that
// of the whole program, is not its parent.
func TestMessageWithoutTraceBeginsOne(t *testing.T) {
	f := observe(t)
	ctx, program := f.root()
	for _, md := range []map[string]string{nil, {"traceparent": creation}} {
		ctx := f.Extract(ctx, md)
		begin(f.Message, ctx, instrument.Start{Queue: "q", Receive: true, Metadata: md})(instrument.End{})
	}
	spans := f.named("process q")
	if s := spans[0]; s.Parent().IsValid() || s.SpanContext().TraceID() == program.TraceID() || len(s.Links()) > 0 {
		t.Errorf("the parent is %v, links %v", s.Parent(), s.Links())
	}
	if got := spans[1].Parent().TraceID().String(); got != creation[3:35] || len(spans[1].Links()) != 1 {
		t.Errorf("the parent is in trace %s, links %v", got, spans[1].Links())
	}
}
