package tasks

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/history"
	"github.com/afgen/afgen/runtime/internal/hooks"
)

// The hooks of the instruments of an App. The callers have checked that there are any.

// observe begins the observation of an attempt. It changes the attempt's context.
func (a *attempt) observe() {
	h, t := a.p.e.Hooks, a.task
	job, _ := a.p.e.JobOf(t.ID)
	start := instrument.Start{
		Queue: t.Queue, Task: t.ID, Source: t.Source, DoneOf: t.DoneOf, RetryOf: t.RetryOf, Job: job,
		Attempt: t.Attempt, Fence: t.Fence, Weight: t.Weight, Process: a.p.worker.Process,
		Wait: max(t.Started.Sub(history.Due(t)), 0), Age: max(t.Started.Sub(t.Created), 0),
		Size: len(t.Payload), Metadata: t.Metadata,
	}
	if t.Fence > 1 {
		start.Previous = a.p.e.traces.take(t.ID)
	}
	a.ctx, a.ended = h.Attempt(h.Extract(a.ctx, t.Metadata, t.Trace), start)
}

// observeEnd ends the observation of an attempt. err is the error of its handler.
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
	if !s.To.Final() {
		if trace := a.p.e.Hooks.Trace(a.ctx); trace != "" {
			a.p.e.traces.put(a.task.ID, trace)
		}
	}
	a.p.e.Hooks.End(a.ended, e)
}

// traces has the traceparents of attempts of this process that another one follows, by task, so that the next attempt
// can link to them. It has those of the last maxTraces tasks at least, and of twice as many at most.
type traces struct {
	mu          sync.Mutex
	now, before map[string]string
}

const maxTraces = 4096

func (t *traces) put(task, trace string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now == nil || len(t.now) >= maxTraces {
		t.now, t.before = map[string]string{}, t.now
	}
	t.now[task] = trace
}

// take returns the traceparent of the last attempt of a task, or "", and removes it.
func (t *traces) take(task string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	trace := cmp.Or(t.now[task], t.before[task])
	delete(t.now, task)
	delete(t.before, task)
	return trace
}

// observeClaim observes a request for tasks.
func (p *pool) observeClaim(begun time.Time, tasks int, err error) {
	p.e.Hooks.Observe(instrument.Event{
		Kind: instrument.Claimed, Queue: p.worker.Queue, Tasks: tasks, Code: backend.CodeOf(err), Duration: time.Since(begun),
	})
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
