package afotel

import (
	"cmp"
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/instrument"
)

// Submit implements [af.Instrumentation].
func (i *Instrument) Submit(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	var fire trace.Span
	if s.Job != "" {
		ctx, fire = i.start(ctx, name{kind: fireSpan, of: s.Job})
	}
	key := name{kind: submitSpan, of: s.Queue}
	if s.Tasks > 1 {
		key.kind = submitManySpan
	}
	ctx, span := i.start(ctx, key)
	_, measured := i.recorder.Submit(ctx, s)
	if !span.IsRecording() && (fire == nil || !fire.IsRecording()) {
		return ctx, measured
	}
	return ctx, i.submitted(span, fire, &s, measured)
}

// submitted describes the span of a submission, and returns the function that ends it and the one of the job, unless
// that is nil.
func (i *Instrument) submitted(
	span, fire trace.Span, s *instrument.Start, measured func(instrument.End),
) func(instrument.End) {
	tasks := s.Tasks // s itself would be allocated
	attributes := []attribute.KeyValue{keyInstance.String(s.Instance), semconv.MessagingMessageBodySize(s.Size)}
	if tasks > 1 {
		attributes = append(attributes, semconv.MessagingBatchMessageCount(tasks))
	}
	span.SetAttributes(ids(attributes, s)...)
	if s.RetryOf != "" {
		i.link(span, trace.SpanContextFromContext(i.Extract(context.Background(), s.Metadata)), "retried_task")
	}
	return func(e instrument.End) {
		measured(e)
		if fire != nil {
			defer fire.End()
		}
		defer span.End()
		if e.Task != "" {
			span.SetAttributes(semconv.MessagingMessageID(valid(e.Task)))
		}
		if tasks > 1 {
			span.SetAttributes(keyStored.Int(e.Stored))
		}
		if e.Err != nil {
			i.fail(span, e.Code, e.Err)
			if fire != nil {
				i.fail(fire, e.Code, e.Err)
			}
		}
	}
}

// ids appends the ids of other tasks and of the job.
func ids(to []attribute.KeyValue, s *instrument.Start) []attribute.KeyValue {
	for _, id := range []struct {
		key   attribute.Key
		value string
	}{{keySource, s.Source}, {keyDoneOf, s.DoneOf}, {keyRetryOf, s.RetryOf}, {keyJob, s.Job}} {
		if id.value != "" {
			to = append(to, id.key.String(valid(id.value)))
		}
	}
	return to
}

// Attempt implements [af.Instrumentation].
func (i *Instrument) Attempt(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	creation := trace.SpanContextFromContext(ctx)
	if s.Age > i.cfg.childWithin || i.cfg.childWithin == 0 {
		ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	}
	ctx, span := i.start(ctx, name{kind: processSpan, of: s.Queue})
	_, measured := i.recorder.Attempt(ctx, s)
	if !span.IsRecording() {
		return ctx, measured
	}
	i.attempted(span, &s, creation)
	return ctx, func(e instrument.End) {
		measured(e)
		i.endAttempt(span, &e)
	}
}

// attempted describes the span of an attempt.
func (i *Instrument) attempted(span trace.Span, s *instrument.Start, creation trace.SpanContext) {
	attributes := []attribute.KeyValue{
		keyInstance.String(s.Instance), semconv.MessagingMessageID(valid(s.Task)), semconv.MessagingMessageBodySize(s.Size),
		keyAttempt.Int(s.Attempt), keyFence.Int64(s.Fence), keyWeight.Int(s.Weight), keyWait.Float64(s.Wait.Seconds()),
	}
	if s.Process {
		attributes = append(attributes, keyProcess.Bool(true))
	}
	span.SetAttributes(ids(attributes, s)...)
	i.link(span, creation, "creation")
	if s.Previous != "" {
		carrier := propagation.MapCarrier{"traceparent": s.Previous}
		previous := propagation.TraceContext{}.Extract(context.Background(), carrier)
		i.link(span, trace.SpanContextFromContext(previous), "previous_attempt")
	}
}

// endAttempt ends the span of an attempt.
func (i *Instrument) endAttempt(span trace.Span, e *instrument.End) {
	defer span.End()
	span.SetAttributes(keyResult.String(string(e.Attempt)), keyStatus.String(string(e.Status)))
	if !e.Status.Final() {
		span.SetAttributes(keyDelay.Float64(e.Delay.Seconds()))
	}
	if e.Snoozed {
		span.SetAttributes(keySnoozed.Bool(true))
	}
	if e.Abandoned {
		span.SetAttributes(keyAbandoned.Bool(true))
	}
	if e.Attempt == af.AttemptFailed || e.Attempt == af.AttemptLost {
		i.fail(span, e.Code, e.Err)
	}
}

// lost makes a span of an attempt whose process has died, and so can't end its own.
func (i *Instrument) lost(e instrument.Event) {
	ctx := i.Extract(context.Background(), e.Metadata)
	creation := trace.SpanContextFromContext(ctx)
	if e.Duration > i.cfg.childWithin || i.cfg.childWithin == 0 {
		ctx = context.Background()
	}
	_, span := i.start(ctx, name{kind: lostSpan, of: e.Queue})
	defer span.End()
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		keyInstance.String(e.Instance), semconv.MessagingMessageID(valid(e.Task)), keyAttempt.Int(e.Attempt),
		keyFence.Int64(e.Fence), keyOwner.String(valid(e.Owner)), keyStatus.String(string(e.Status)),
		keyResult.String(string(af.AttemptLost)),
	)
	i.link(span, creation, "creation")
	i.fail(span, cmp.Or(e.Code, af.ErrAborted), nil) // the code of ErrLeaseLost, unless the task has failed by it
}

// Message implements [af.Instrumentation].
func (i *Instrument) Message(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	key, creation := name{kind: sendSpan, of: s.Queue}, trace.SpanContext{}
	if s.Receive {
		key.kind, creation = processSpan, trace.SpanContextFromContext(ctx)
		if !creation.IsRemote() { // of the context given to App.Receive, which may last as long as the program
			creation = trace.SpanContext{}
			ctx = trace.ContextWithSpanContext(ctx, creation)
		}
	}
	ctx, span := i.start(ctx, key)
	_, measured := i.recorder.Message(ctx, s)
	if !span.IsRecording() {
		return ctx, measured
	}
	span.SetAttributes(keyInstance.String(s.Instance), semconv.MessagingMessageBodySize(s.Size))
	if s.Receive {
		span.SetAttributes(keyAttempt.Int(s.Attempt))
	}
	i.link(span, creation, "creation")
	return ctx, func(e instrument.End) {
		measured(e)
		defer span.End()
		if e.Delay > 0 {
			span.SetAttributes(keyDelay.Float64(e.Delay.Seconds()))
		}
		if e.Dead != "" {
			span.SetAttributes(keyDead.String(string(e.Dead)))
		}
		if e.Err != nil {
			i.fail(span, e.Code, e.Err)
		}
	}
}

// link adds a link to a span. what is its attribute.
func (i *Instrument) link(span trace.Span, to trace.SpanContext, what string) {
	if to.IsValid() {
		span.AddLink(trace.Link{SpanContext: to, Attributes: []attribute.KeyValue{keyLink.String(what)}})
	}
}
