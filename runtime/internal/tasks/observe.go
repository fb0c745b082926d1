package tasks

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/ctxvalues"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/history"
	"github.com/afgen/afgen/runtime/internal/hooks"
)

// The hooks of the instruments of an App. The callers have checked that there are any.

// observe begins the observation of an attempt. It changes the attempt's context.
func (a *attempt) observe() {
	h, t := a.p.e.Hooks, a.task
	job, _ := a.p.e.JobOf(t.ID)
	metadata := hooks.Traced(t.Metadata, t.Trace)
	start := instrument.Start{
		Queue: t.Queue, Task: t.ID, Source: t.Source, DoneOf: t.DoneOf, RetryOf: t.RetryOf, Job: job,
		Attempt: t.Attempt, Fence: t.Fence, Weight: t.Weight, Process: a.p.worker.Process,
		Wait: max(t.Started.Sub(history.Due(t)), 0), Age: max(t.Started.Sub(t.Created), 0),
		Size: len(t.Payload), Metadata: metadata, Previous: previousTrace(t),
	}
	before := a.ctx
	a.ctx, a.ended = h.Attempt(h.Extract(a.ctx, metadata), start)
	a.valued = a.ctx != before
}

// observeEnd ends the observation of an attempt, and sets s.Trace. err is the error of its handler.
func (a *attempt) observeEnd(s *backend.Settle, err error, abandoned bool) {
	cause := context.Cause(a.ctx)
	e := instrument.End{Attempt: backend.OutcomeOf(s.To), Status: s.To, Delay: s.Delay, Abandoned: abandoned}
	switch s.To {
	case backend.StatusSuccess:
		e.Size = len(s.Result)
	case backend.StatusStopped:
		e.Err = ErrStopped
	case backend.StatusWaiting:
		snooze, snoozed := errors.AsType[*guard.SnoozeError](err)
		switch {
		case errors.Is(cause, ErrLeaseLost):
			e.Attempt, e.Err = backend.AttemptLost, cause
		case errors.Is(cause, ErrShutdown):
			e.Err = cause
		case snoozed:
			e.Snoozed, e.Delay = true, snooze.Delay
		default: // the payload is of another version
			e.Err = err
		}
	default:
		if s.Error != nil {
			e.Code = s.Error.Code
		}
		if e.Err = err; err == nil {
			e.Err = s.Error.Err()
		}
	}
	// A span that is not sampled can't be found. The submission's is returned by an instrument that makes no spans.
	if trace := a.p.e.Hooks.Trace(a.ctx); hooks.Sampled(trace) && trace != a.task.Trace {
		s.Trace = trace
	}
	a.p.e.Hooks.End(a.ended, e)
}

// previousTrace returns the traceparent of the attempt of a claimed task before its current one, or "" if it is unknown.
// It passes over attempts without one that were not charged: most of these were given back before they began.
func previousTrace(t *backend.Task) string {
	fence := t.Fence
	for _, a := range slices.Backward(t.Attempts) {
		fence--
		switch {
		case a.Fence != fence: // a program that stores no attempts has run one
			return ""
		case hooks.ValidTrace(a.Trace):
			return a.Trace
		case a.Outcome != backend.AttemptReturned:
			return ""
		}
	}
	return ""
}

// observeClaim observes a request for tasks.
func (p *pool) observeClaim(begun time.Time, tasks int, err error) {
	p.e.Hooks.Observe(instrument.Event{
		Kind: instrument.Claimed, Queue: p.worker.Queue, Tasks: tasks, Code: backend.CodeOf(err), Duration: time.Since(begun),
	})
}

// within returns ctx with the values of the attempt if instruments have added some, such as its span, for a request
// that writes only its result. One that writes several has no attempt's.
func (b *settlement) within(ctx context.Context) context.Context {
	if a, ok := b.claim.(*attempt); ok && a.valued {
		return ctxvalues.From(ctx, a.ctx)
	}
	return ctx
}

// observeWrite observes a request that writes results.
func (s *settler) observeWrite(begun time.Time, results int, err error) {
	s.e.Hooks.Observe(instrument.Event{
		Kind: instrument.Settled, Tasks: results, Backlog: s.backlog(), Code: backend.CodeOf(err),
		Duration: time.Since(begun),
	})
}

// observeSettled observes the end of a task by a settlement, which has just been stored.
func (b *settlement) observeSettled(e *Engine) {
	ended := instrument.Event{
		Kind: instrument.TaskEnded, Queue: b.task.Queue, Task: b.ID, Status: b.To, Attempt: b.task.Attempt,
		Duration: b.task.Started.Sub(b.task.Created),
	}
	if !b.begun.IsZero() {
		ended.Duration += b.since.Sub(b.begun)
	}
	if b.To == backend.StatusFailed && b.Error != nil {
		ended.Code = b.Error.Code
	}
	e.Hooks.Observe(ended)
}

// observeEnded observes those of the tasks that have ended without a settlement.
func (e *Engine) observeEnded(tasks []backend.Task) {
	for i := range tasks {
		t := &tasks[i]
		if !t.Status.Final() {
			continue
		}
		e.Hooks.Observe(instrument.Event{
			Kind: instrument.TaskEnded, Queue: t.Queue, Task: t.ID, Status: t.Status, Code: failureOf(t), Attempt: t.Attempt,
			Duration: t.Ended.Sub(t.Created),
		})
	}
}

// observeLost observes that an owner was declared dead, which ran tasks.
func (e *Engine) observeLost(owner string, tasks []backend.Task) {
	e.Hooks.Observe(instrument.Event{Kind: instrument.OwnerExpired, Owner: owner, Tasks: len(tasks)})
	for i := range tasks {
		t := &tasks[i]
		e.Hooks.Observe(instrument.Event{
			Kind: instrument.AttemptLost, Queue: t.Queue, Task: t.ID, Attempt: t.Attempt, Fence: t.Fence, Owner: owner,
			Status: t.Status, Code: failureOf(t), Metadata: hooks.Traced(t.Metadata, t.Trace),
			Duration: t.Started.Sub(t.Created),
		})
	}
}

// failureOf returns the code of a task that has failed, or "".
func failureOf(t *backend.Task) backend.Code {
	if t.Status != backend.StatusFailed || t.Error == nil {
		return ""
	}
	return t.Error.Code
}

// Load returns how busy this process is.
func (e *Engine) Load() instrument.Load {
	var l instrument.Load
	for _, q := range e.State(false) {
		l.Queues = append(l.Queues, instrument.QueueLoad{
			Queue: q.Queue, Slots: q.Applied.Slots(), Used: q.Slots, Abandoned: q.Abandoned})
	}
	l.Backlog, l.BacklogSince = e.Unwritten()
	return l
}
