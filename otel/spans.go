package afotel

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

// The attributes of spans that the semantic conventions do not have.
const (
	keyInstance  = attribute.Key("af.instance")       // id of the App that has the span
	keyTries     = attribute.Key("af.call.tries")     // requests sent
	keyOutcome   = attribute.Key("af.call.outcome")   // of a failed call: answered, not sent or unknown
	keyServer    = attribute.Key("af.call.server")    // id of the instance that has answered
	keyCall      = attribute.Key("af.call.id")        //
	keyCaller    = attribute.Key("af.call.caller")    // id of the calling instance
	keyAttempt   = attribute.Key("af.task.attempt")   // number, from 1; of a raw message, too
	keyFence     = attribute.Key("af.task.fence")     //
	keyWeight    = attribute.Key("af.task.weight")    //
	keyWait      = attribute.Key("af.task.wait")      // seconds from due to claimed
	keySource    = attribute.Key("af.task.source")    // id of the source of a subtask
	keyDoneOf    = attribute.Key("af.task.done_of")   // id of the task whose SubtasksDone runs
	keyRetryOf   = attribute.Key("af.task.retry_of")  // id of the task that is retried
	keyProcess   = attribute.Key("af.task.process")   // it runs in a child process
	keyResult    = attribute.Key("af.task.outcome")   // of an attempt: success, failed, stopped, returned or lost
	keyStatus    = attribute.Key("af.task.status")    // what the task becomes
	keySnoozed   = attribute.Key("af.task.snoozed")   //
	keyAbandoned = attribute.Key("af.task.abandoned") //
	keyDelay     = attribute.Key("af.delay")          // seconds until the next attempt or delivery
	keyOwner     = attribute.Key("af.task.owner")     // of a lost attempt
	keyStored    = attribute.Key("af.task.stored")    // of a submission of several tasks
	keyJob       = attribute.Key("af.job")            // id
	keyDead      = attribute.Key("af.message.dead")   // why a raw message is dead
	keyLink      = attribute.Key("af.link")           // what a link is to
)

// A kind is a kind of span.
type kind int

const (
	clientSpan kind = iota
	serverSpan
	submitSpan
	submitManySpan
	processSpan
	lostSpan
	sendSpan
	fireSpan
)

// A name identifies the spans with the same name: what they have in common is made once.
type name struct {
	kind    kind
	of, sub string // queue or job; service and method
}

// named is what the spans of a name have in common.
type named struct {
	span    string
	options []trace.SpanStartOption
}

// maxNames is how many names are kept. What exceeds it is made for each span.
const maxNames = metric.MaxSeries

// names has what spans have in common, by their name. Readers need no lock.
type names struct {
	mu  sync.Mutex
	all atomic.Pointer[map[name]*named] // replaced when one is added
}

func (n *names) get(key name) *named {
	if all := n.all.Load(); all != nil {
		if v := (*all)[key]; v != nil {
			return v
		}
	}
	return n.add(key)
}

func (n *names) add(key name) *named {
	v := newNamed(key)
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[name]*named{}
	if old := n.all.Load(); old != nil {
		if len(*old) >= maxNames {
			return v
		}
		maps.Copy(all, *old)
	}
	all[key] = v
	n.all.Store(&all)
	return v
}

// newNamed returns the name, kind and first attributes of a span, by which it may be sampled.
func newNamed(key name) *named {
	of, system := valid(key.of), semconv.MessagingSystemKey.String(metric.System)
	span, verb := trace.SpanKindInternal, ""
	var attributes []attribute.KeyValue
	switch key.kind {
	case clientSpan, serverSpan:
		span = trace.SpanKindClient
		if key.kind == serverSpan {
			span = trace.SpanKindServer
		}
		of += "/" + valid(key.sub)
		attributes = []attribute.KeyValue{
			semconv.RPCSystemNameKey.String(metric.System), semconv.RPCMethodKey.String(of)}
	case submitSpan, submitManySpan, sendSpan:
		span, verb = trace.SpanKindProducer, "submit"
		if key.kind == submitManySpan {
			span = trace.SpanKindClient
		} else if key.kind == sendSpan {
			verb = "send"
		}
		attributes = []attribute.KeyValue{system, semconv.MessagingOperationTypeSend}
	case processSpan:
		span, verb = trace.SpanKindConsumer, "process"
		attributes = []attribute.KeyValue{system, semconv.MessagingOperationTypeProcess}
	case lostSpan:
		verb = "lost"
		attributes = []attribute.KeyValue{system}
	case fireSpan:
		attributes = []attribute.KeyValue{keyJob.String(of)}
		of = "fire " + of
	}
	if verb != "" {
		attributes = append(attributes, semconv.MessagingOperationName(verb), semconv.MessagingDestinationName(of))
		of = verb + " " + of
	}
	return &named{of, []trace.SpanStartOption{trace.WithSpanKind(span), trace.WithAttributes(attributes...)}}
}

// valid returns a string without invalid UTF-8, for which exporters would refuse everything that they send with it.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// start begins a span. With SkipUnsampled it may be the parent, which does not record.
func (i *Instrument) start(ctx context.Context, key name) (context.Context, trace.Span) {
	if i.cfg.skip {
		parent := trace.SpanFromContext(ctx)
		if sc := parent.SpanContext(); sc.IsValid() && !sc.IsSampled() && !parent.IsRecording() {
			return ctx, parent
		}
	}
	n := i.names.get(key)
	return i.tracer.Start(ctx, n.span, n.options...)
}

// fail sets the status of a span whose operation has failed.
func (i *Instrument) fail(span trace.Span, code af.Code, err error) {
	text := ""
	if i.cfg.errorText != nil && err != nil {
		text = valid(i.cfg.errorText(err))
	}
	span.SetAttributes(semconv.ErrorTypeKey.String(valid(string(code))))
	span.SetStatus(codes.Error, text)
}

// Call implements [af.Instrumentation].
func (i *Instrument) Call(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	ctx, span := i.start(ctx, name{clientSpan, s.Service, s.Method})
	_, measured := i.recorder.Call(ctx, s)
	if !span.IsRecording() {
		return ctx, measured
	}
	return ctx, i.called(span, &s, measured)
}

// called describes the span of a call, and returns the function that ends it. Like others it is apart from the start of
// the span, so that the stack below the SDK is small: most spans are not recorded.
func (i *Instrument) called(span trace.Span, s *instrument.Start, measured func(instrument.End)) func(instrument.End) {
	span.SetAttributes(keyInstance.String(s.Instance))
	return func(e instrument.End) {
		measured(e)
		defer span.End()
		span.SetAttributes(responded(e.Code), keyTries.Int(e.Tries))
		if e.Server != "" {
			span.SetAttributes(keyServer.String(valid(e.Server)))
		}
		if e.Err != nil {
			span.SetAttributes(keyOutcome.String(e.Outcome.String()))
			i.fail(span, e.Code, e.Err)
		}
	}
}

// Handle implements [af.Instrumentation].
func (i *Instrument) Handle(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	ctx, span := i.start(ctx, name{serverSpan, s.Service, s.Method})
	_, measured := i.recorder.Handle(ctx, s)
	if !span.IsRecording() {
		return ctx, measured
	}
	return ctx, i.handled(span, &s, measured)
}

func (i *Instrument) handled(span trace.Span, s *instrument.Start, measured func(instrument.End)) func(instrument.End) {
	span.SetAttributes(keyInstance.String(s.Instance), keyCall.String(valid(s.Call)), keyCaller.String(valid(s.Caller)))
	return func(e instrument.End) {
		measured(e)
		defer span.End()
		span.SetAttributes(responded(e.Code))
		if metric.ServerError(e.Code) {
			i.fail(span, e.Code, e.Err)
		}
	}
}

// responded returns the status code of a response.
func responded(code af.Code) attribute.KeyValue {
	if code == "" {
		code = "ok"
	}
	return semconv.RPCResponseStatusCode(valid(string(code)))
}
