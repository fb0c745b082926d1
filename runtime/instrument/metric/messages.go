package metric

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
)

// Message implements [instrument.Instrumentation].
func (r *Recorder) Message(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	begun, queue := time.Now(), s.Queue
	if !s.Receive {
		return ctx, func(e instrument.End) {
			r.record(ctx, messageSend, time.Since(begun).Seconds(), labels{System, "send", queue, string(r.code(e.Code))})
		}
	}
	if s.Attempt > 1 {
		r.record(ctx, messageRedelivered, 1, labels{queue})
	}
	return ctx, func(e instrument.End) {
		if e.Dead != "" {
			r.record(ctx, messageDead, 1, labels{queue, string(e.Dead)})
		}
		if e.Dead == backend.DeadCrash {
			return // the delivery before this one ended with its process, and this one did not reach the handler
		}
		code := string(r.code(e.Code))
		r.record(ctx, messageProcess, time.Since(begun).Seconds(), labels{System, "process", queue, code})
		outcome := messageOutcome(&e)
		if outcome != backend.AttemptFailed {
			code = "" // as for tasks: the outcome says it all
		}
		r.record(ctx, messageAttempts, 1, labels{queue, string(outcome), code})
	}
}

// messageOutcome returns how the delivery of a message has ended, in the words for attempts of tasks. One that is
// released at shutdown has an error and no delay.
func messageOutcome(e *instrument.End) backend.AttemptOutcome {
	switch {
	case e.Err == nil:
		return backend.AttemptSucceeded
	case e.Dead == "" && e.Delay == 0:
		return backend.AttemptReturned
	}
	return backend.AttemptFailed
}
