// Package afotel makes traces and metrics of an App with OpenTelemetry. Import it as afotel:
//
//	import afotel "github.com/afgen/afgen/otel"
//
// [New] returns an instrument, which is an option of af.Open. [Instrument.Watch] adds the gauges of the App:
//
//	observed, err := afotel.New() // the global providers and propagator of OpenTelemetry
//	app, err := af.Open(ctx, backend, af.Instrument(observed))
//	stop, err := observed.Watch(app)
//	defer stop()
//	err = app.Run(ctx)
//
// The program sets up OpenTelemetry itself, with exporters and sampling, and shuts the providers down after app.Run.
//
// # Spans
//
//	Service/Method   CLIENT and SERVER: a call
//	submit QUEUE     PRODUCER: a task is stored; CLIENT: several tasks
//	process QUEUE    CONSUMER: an attempt of a task; a handler that receives a raw message
//	lost QUEUE       INTERNAL: an attempt whose process died, noticed by another App; it has no duration
//	send QUEUE       PRODUCER: a raw message is sent
//	fire JOB         INTERNAL: a job submits a task, with the span submit below
//
// An attempt is a child of the span that submitted the task if it begins within [ChildWithin] of the submission.
// Otherwise it begins a new trace, so that no trace lasts for days. It always has a link to that span. Links have the
// attribute af.link: creation, previous_attempt or retried_task. previous_attempt is also known if another process has
// run that attempt, but not if it was lost or its span was not sampled.
//
// The status of a span is an error if a call or submission fails, if a service answers a code that is its own fault
// (unknown, deadline_exceeded, unimplemented, internal, unavailable, data_loss), and if an attempt fails: by an error,
// a panic, a time-out or a lost lease, whether or not another attempt follows. Attempts that are snoozed, stopped, or
// released at shutdown are no errors; af.task.outcome tells. The attribute error.type is the code of the error.
// Texts of errors may be confidential and are left out, unless the option [ErrorText] gives them. Payloads, results,
// metadata and keys are never recorded.
//
// Attributes follow OpenTelemetry's semantic conventions 1.43 for RPC and messaging. Those that begin with af. are of
// this package. docs/otel.md lists them.
//
// # Metrics
//
// The metrics are those of docs/metrics.md, from the table of package runtime/instrument/metric. Their attributes are
// names of queues, methods and jobs, statuses and codes, never ids.
//
// # Child processes
//
// Programs whose workers have isolation=process set up OpenTelemetry in the child processes, too. The attempt is a span
// of the parent, and what the handler does is a child of it. The child's providers are flushed before it exits if they
// have ForceFlush, as those of the SDK do.
package afotel

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	otelmetric "go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

// scope is the name of the tracer and the meter.
const scope = "github.com/afgen/afgen/otel"

// An Instrument observes Apps with OpenTelemetry. Create it with [New]. It may observe several Apps, and is safe for
// concurrent use.
type Instrument struct {
	instrument.NoInstrument
	cfg      config
	tracer   trace.Tracer
	recorder *metric.Recorder
	gauges   gauges
	names    names
	w3c      bool     // the propagator is that of W3C Trace Context
	fields   []string // of another propagator

	globalTracers, globalMeters bool // the providers are the global ones
}

var _ af.Instrumentation = (*Instrument)(nil)

type config struct {
	tracers     trace.TracerProvider
	meters      otelmetric.MeterProvider
	propagator  propagation.TextMapPropagator
	childWithin time.Duration
	errorText   func(error) string
	skip        bool
}

// An Option is an option of [New].
type Option func(*config)

// TracerProvider sets where spans go. The default is the global one, otel.GetTracerProvider.
func TracerProvider(p trace.TracerProvider) Option { return func(c *config) { c.tracers = p } }

// MeterProvider sets where metrics go. The default is the global one, otel.GetMeterProvider.
func MeterProvider(p otelmetric.MeterProvider) Option { return func(c *config) { c.meters = p } }

// Propagator sets how traces cross processes. The default is the global one, otel.GetTextMapPropagator, if the program
// has set it before it calls New, otherwise W3C Trace Context. All programs of a system need the same formats.
func Propagator(p propagation.TextMapPropagator) Option { return func(c *config) { c.propagator = p } }

// ChildWithin sets for how long after the submission of a task its attempts join the submitter's trace. Later ones
// begin new traces, which are linked. The default is 10 minutes; 0 begins a new trace for each attempt.
func ChildWithin(d time.Duration) Option { return func(c *config) { c.childWithin = d } }

// ErrorText sets a function that returns the text of an error for the status of a span, or "". The text is sent to
// wherever spans are sent. The default is no text: errors may contain what users have entered. text is called
// concurrently.
func ErrorText(text func(error) string) Option { return func(c *config) { c.errorText = text } }

// SkipUnsampled begins no spans below one that is not sampled, whose ids are passed on instead. Unsampled traces then
// cost less. The default asks the sampler for each span. The option is for samplers that would not sample them either,
// such as ParentBased without options, the default of the SDK. What another sampler would sample is missing.
func SkipUnsampled() Option { return func(c *config) { c.skip = true } }

// New returns an instrument. It fails with ErrInvalidArgument if an option is invalid, and if the MeterProvider refuses
// a metric.
func New(options ...Option) (*Instrument, error) {
	c := config{childWithin: 10 * time.Minute}
	for _, o := range options {
		if o != nil {
			o(&c)
		}
	}
	if c.childWithin < 0 {
		return nil, af.Errorf(af.ErrInvalidArgument, "ChildWithin is %v, want 0 or more", c.childWithin)
	}
	globalTracers, globalMeters := c.tracers == nil, c.meters == nil
	if globalTracers {
		c.tracers = otel.GetTracerProvider()
	}
	if globalMeters {
		c.meters = otel.GetMeterProvider()
	}
	if c.propagator == nil {
		if c.propagator = otel.GetTextMapPropagator(); len(c.propagator.Fields()) == 0 {
			c.propagator = propagation.TraceContext{}
		}
	}
	i := &Instrument{cfg: c, fields: c.propagator.Fields(), globalTracers: globalTracers, globalMeters: globalMeters}
	_, i.w3c = c.propagator.(propagation.TraceContext)
	i.tracer = c.tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	meter := c.meters.Meter(scope, otelmetric.WithSchemaURL(semconv.SchemaURL))
	sink, err := newSink(meter)
	if err != nil {
		return nil, err
	}
	i.recorder = metric.NewRecorder(sink.series)
	if i.gauges, err = newGauges(meter); err != nil {
		return nil, err
	}
	return i, nil
}

// Watch adds the gauges of an App that the instrument observes: tasks of queues, slots, backlog, instances and modes.
// They have values while the App runs, so Watch may be called before Run or Start. Those of the whole system are read
// every 15 s at most, by one of all Apps, whatever the interval of collections is. stop removes the gauges; it may be
// called more than once. In a child process there are none: its parent has them.
//
// If a process has several Apps, watch one of them, or give each a MeterProvider of its own. Otherwise the values of
// one replace those of the other.
//
// Watch fails with ErrFailedPrecondition if the App was opened without this instrument.
func (i *Instrument) Watch(app *af.App) (stop func(), err error) {
	for _, other := range app.Instruments() {
		if other == i {
			return i.gauges.watch(app)
		}
	}
	return nil, af.Errorf(af.ErrFailedPrecondition,
		"the app is not observed by this instrument: open it with the option af.Instrument(observed)")
}

// Inject implements [af.Instrumentation].
func (i *Instrument) Inject(ctx context.Context) map[string]string {
	if i.w3c {
		sc := trace.SpanContextFromContext(ctx)
		if !sc.IsValid() {
			return nil
		}
		// A span without a state may not inherit one: "" removes it.
		return map[string]string{"traceparent": traceparent(&sc), "tracestate": sc.TraceState().String()}
	}
	carrier := make(propagation.MapCarrier, len(i.fields))
	i.cfg.propagator.Inject(ctx, carrier)
	if len(carrier) == 0 {
		return nil
	}
	for _, name := range i.fields { // what the span does not have may not be inherited from another one
		if _, ok := carrier[name]; !ok {
			carrier[name] = ""
		}
	}
	return carrier
}

// Extract implements [af.Instrumentation].
func (i *Instrument) Extract(ctx context.Context, metadata map[string]string) context.Context {
	growStack(false)
	if len(metadata) == 0 {
		return ctx
	}
	return i.cfg.propagator.Extract(ctx, propagation.MapCarrier(metadata))
}

// growStack makes the stack of a goroutine large enough for the SDK, whose frames are large. Extract calls it, since a
// request, an attempt or a message begins with that, often on a new goroutine with 2 KiB. Otherwise the runtime would
// copy the stack twice inside of the SDK, when it has more frames to adjust. never is false.
//
//go:noinline
func growStack(never bool) {
	if never {
		var frame [4 << 10]byte // the frame has it, and nothing writes it
		fill(frame[:])
	}
}

//go:noinline
func fill(b []byte) { clear(b) }

// Trace implements [af.Instrumentation].
func (i *Instrument) Trace(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return ""
	}
	return traceparent(&sc)
}

// traceparent returns the W3C traceparent of a valid span context, as propagation.TraceContext writes it.
func traceparent(sc *trace.SpanContext) string {
	id, span := sc.TraceID(), sc.SpanID()
	flags := [1]byte{byte(sc.TraceFlags() & (trace.FlagsSampled | trace.FlagsRandom))}
	b := append(make([]byte, 0, 55), "00-"...)
	b = append(hex.AppendEncode(b, id[:]), '-')
	b = append(hex.AppendEncode(b, span[:]), '-')
	return string(hex.AppendEncode(b, flags[:]))
}

// Observe implements [af.Instrumentation].
func (i *Instrument) Observe(e instrument.Event) {
	i.recorder.Observe(e)
	if e.Kind == instrument.AttemptLost {
		i.lost(e)
	}
}

// Flush implements [af.Instrumentation].
func (i *Instrument) Flush(ctx context.Context) {
	var errs []error
	tracers, meters := i.cfg.tracers, i.cfg.meters
	if i.globalTracers { // that of New may only pass on to one that was set since
		tracers = otel.GetTracerProvider()
	}
	if i.globalMeters {
		meters = otel.GetMeterProvider()
	}
	for _, provider := range []any{tracers, meters} {
		if p, ok := provider.(interface{ ForceFlush(context.Context) error }); ok {
			errs = append(errs, p.ForceFlush(ctx))
		}
	}
	if err := errors.Join(errs...); err != nil {
		otel.Handle(fmt.Errorf("flushing before a child process exits: %w", err))
	}
}
