package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// Why the context of a running task ended; context.Cause returns one of these.
var (
	// ErrTaskStopped: the task was stopped.
	ErrTaskStopped = tasks.ErrStopped
	// ErrLeaseLost: this process could not show that it is alive, and the task may be running elsewhere.
	ErrLeaseLost = tasks.ErrLeaseLost
)

// A Running is a task as its handler sees it.
type Running struct {
	ID      string
	Queue   string
	Attempt int    // from 1
	Fence   int64  // rises with every claim: a write guarded by it loses to that of a later attempt
	Source  string // the task whose subtask this is

	store   backend.Store
	batches atomic.Int64
	trace   string
	before  []string // lines of the attempts before
	log     taskLog
}

// maxProgress bounds what Progress takes: it is part of the task's document, which is read and written as a whole.
const maxProgress = 64 << 10

// Progress notes how far the task has come; every reader of the task sees it. It is ErrAborted where the claim was lost, and
// ErrResourceExhausted, without anything being sent, if v encodes to more than 64 KiB.
func (r *Running) Progress(ctx context.Context, v any) error {
	progress, err := encode(v)
	if err != nil {
		return Errorf(ErrInvalidArgument, "the progress of task %s does not encode: %w", r.ID, err).With(OutcomeNotSent)
	}
	if len(progress) > maxProgress {
		return Errorf(ErrResourceExhausted, "the progress of task %s is %d bytes; at most %d are allowed", r.ID, len(progress),
			maxProgress).With(OutcomeNotSent)
	}
	if err := r.store.Progress(ctx, r.ID, r.Fence, progress); err != nil {
		return backend.AsError(err)
	}
	return nil
}

// TaskFrom returns the task that the handler whose context ctx is runs; nil outside of one.
func TaskFrom(ctx context.Context) *Running {
	if h := handlingFrom(ctx); h != nil {
		return h.running
	}
	return nil
}

// Permanent marks an error that another attempt can't fix: the task fails at once.
func Permanent(err error) error { return guard.Permanent(err) }

// Snooze is an error for Run to return: the task waits for d and then runs again, and no attempt is charged. d is at least
// 100 ms, so that a task that snoozes again and again doesn't keep the store busy.
func Snooze(d time.Duration) error { return guard.Snooze(d) }

// A taskRun is one attempt of a task, as package tasks runs it.
type taskRun struct {
	handling
	worker *WorkerSpec
	task   *Task
	is     Running
}

// beginRun prepares the attempt of a claimed task.
func (e *engine) beginRun(ctx context.Context, w *WorkerSpec, t *Task) (context.Context, tasks.Run) {
	r := &taskRun{worker: w, task: t, is: Running{
		ID: t.ID, Queue: t.Queue, Attempt: t.Attempt, Fence: t.Fence, Source: t.Source, trace: t.Trace, before: t.Log,
		store: e.store,
	}}
	r.handling = handling{app: e.app, running: &r.is}
	return context.WithValue(ctx, handlingKey{}, &r.handling), r
}

// Handle implements tasks.Run. It calls Run, or SubtasksDone for the task that represents that.
func (r *taskRun) Handle(ctx context.Context) (json.RawMessage, error) {
	e, w, t := r.app.tasks, r.worker, r.task
	otherVersion := t.Fingerprint != "" && t.Fingerprint != w.Payload
	if otherVersion && e.app.strange.first(w.Name+" "+t.Fingerprint) {
		e.log.Warn("a task was submitted with another type of payload; unknown members are ignored, missing ones are zero",
			"queue", w.Name, "task", t.ID, "theirs", t.Fingerprint, "ours", w.Payload)
	}
	if t.DoneOf == "" {
		return w.Run(ctx, t.Payload)
	}
	if w.SubtasksDone == nil {
		if otherVersion {
			return nil, guard.Undecoded(Errorf(ErrInvalidArgument, "the worker of queue %s has no SubtasksDone", w.Name))
		}
		return nil, nil // this version of the worker has none
	}
	var source Task
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		source, err = e.store.Get(ctx, t.DoneOf)
		return err
	})
	if retry.Unavailable(err) {
		return nil, Snooze(retry.MaxPoll) // not the worker's failure: no attempt is charged
	}
	if err != nil {
		return nil, err
	}
	s := Subtasks{all: e.tasks.AllSubtasks(t.DoneOf)}
	if c := source.Subtasks; c != nil {
		s.Total, s.Succeeded, s.Failed, s.Stopped = c.Total, c.Succeeded, c.Failed, c.Stopped
	}
	return nil, w.SubtasksDone(ctx, t.Payload, s)
}

// Lines implements tasks.Run.
func (r *taskRun) Lines() []string { return r.is.log.kept() }

// Failure implements tasks.Run. What RedactErrors hides is logged.
func (r *taskRun) Failure(ctx context.Context, err error) *backend.TaskError {
	if !r.app.settings.redact {
		return guard.TaskError(err)
	}
	e, hidden := redacted(err)
	if _, ok := errors.AsType[*guard.PanicError](err); hidden && !ok { // Report logs panics
		errorLogFrom(ctx).Warn("a task failed; its error is redacted", "error", err)
	}
	return &backend.TaskError{Code: e.Code, Message: e.Message}
}

// Report implements tasks.Run.
func (r *taskRun) Report(ctx context.Context, err error) {
	switch p, ok := err.(*guard.PanicError); {
	case ok:
		errorLogFrom(ctx).Error("panic in a worker", p.Attrs()...)
	case err == error(guard.ErrGoexit):
		LoggerFrom(ctx).Error("a worker ended its goroutine")
	}
}

// Logger implements tasks.Run.
func (r *taskRun) Logger(ctx context.Context) *slog.Logger { return LoggerFrom(ctx) }
