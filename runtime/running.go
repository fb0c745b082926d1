package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/redact"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/tasklog"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// The causes with which the context of a running task is cancelled: see context.Cause.
var (
	// ErrTaskStopped means that the task was stopped.
	ErrTaskStopped = tasks.ErrStopped
	// ErrLeaseLost means that this process could not send a heartbeat in time. The task may already be running on
	// another instance.
	ErrLeaseLost = tasks.ErrLeaseLost
)

// A Running is a running task. [TaskFrom] returns it to the handler. It is a handle: a copy refers to the same attempt.
// In a unit test of a handler, package aftest makes a context from a Running with fields that the test sets.
type Running struct {
	ID      string
	Queue   string
	Attempt int             // from 1
	Fence   int64           // raised by each claim; use it to reject writes of earlier attempts
	Source  string          // id of the task that has it as a subtask; "" for other tasks
	DoneOf  string          // id of the task for which SubtasksDone runs; "" for other tasks
	Job     string          // id of the job whose function, given to HandleJob, runs; "" for tasks of workers
	Payload json.RawMessage // the task's, or that of worker middleware; its bytes must not be modified

	subtasks  *Subtasks // of DoneOf
	undecoded error     // of Payload, as returned to middleware

	*attemptState // nil in a Running that no App has made
}

// attemptState is what an App knows of an attempt.
type attemptState struct {
	store    progressStore
	batches  atomic.Int64
	trace    string
	metadata Metadata
	last     bool     // no attempt follows if this one fails
	before   []string // log lines of earlier attempts
	log      tasklog.Log
	test     slog.Handler // receives the log lines instead, in a unit test of a handler
}

// A progressStore is the part of a [backend.Store] that a Running uses.
type progressStore interface {
	Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error
}

// maxProgress limits the size of progress, which is part of the task's document and is read and written with it.
const maxProgress = 64 << 10

// Progress stores v, encoded as JSON, as the task's progress, which is returned with the task by [App.GetTask]. If the
// attempt has lost its claim it returns [ErrAborted]. If the JSON exceeds 64 KiB it returns [ErrResourceExhausted] and
// stores nothing.
//
// Of a nil Running, which TaskFrom returns outside the handler of a task, and of one that no App has made, Progress
// only checks v. So a unit test can call a handler directly.
func (r *Running) Progress(ctx context.Context, v any) error {
	if r == nil {
		r = &Running{}
	}
	progress, err := exact.Marshal(v)
	if err != nil {
		return Errorf(ErrInvalidArgument, "encoding the progress of task %s: %w", r.ID, err).With(OutcomeNotSent)
	}
	if len(progress) > maxProgress {
		return Errorf(ErrResourceExhausted, "the progress of task %s is %d bytes; at most %d are allowed", r.ID,
			len(progress), maxProgress).With(OutcomeNotSent)
	}
	if r.attemptState == nil {
		return nil
	}
	if err := r.store.Progress(ctx, r.ID, r.Fence, progress); err != nil {
		return backend.AsError(err)
	}
	return nil
}

// TaskFrom returns the task run by the handler that owns ctx, or nil outside the handler of a task. [Running.Progress]
// can be called on nil.
func TaskFrom(ctx context.Context) *Running {
	if h := handlingFrom(ctx); h != nil {
		return h.running
	}
	return nil
}

// Permanent wraps an error for Run to return. The task fails at once, without retries.
func Permanent(err error) error { return guard.Permanent(err) }

// Snooze returns an error for Run to return. The task runs again after d, and no attempt is charged. The minimum of d
// is 100 ms, to protect the store.
func Snooze(d time.Duration) error { return guard.Snooze(d) }

// A taskRun is one attempt of a task. It implements tasks.Run.
type taskRun struct {
	handling
	worker *WorkerSpec
	task   *Task
	is     Running
	state  attemptState
}

// beginRun prepares the attempt of a claimed task.
func (c *core) beginRun(ctx context.Context, w *WorkerSpec, t *Task) (context.Context, tasks.Run) {
	r := &taskRun{worker: w, task: t, state: attemptState{
		trace: t.Trace, before: t.Log, store: c.store, last: tasks.IsLast(t, w.Retries), metadata: t.Metadata,
	}}
	r.is = runningOf(t, &r.state)
	r.handling = handling{app: c.app, running: &r.is}
	return context.WithValue(ctx, handlingKey{}, &r.handling), r
}

// runningOf returns the Running of a claimed task.
func runningOf(t *Task, state *attemptState) Running {
	return Running{
		ID: t.ID, Queue: t.Queue, Attempt: t.Attempt, Fence: t.Fence, Source: t.Source, DoneOf: t.DoneOf,
		Job: handledJob(t.Queue), Payload: t.Payload, attemptState: state,
	}
}

// Handle implements tasks.Run. It calls the worker's handler, for SubtasksDone with the subtasks.
func (r *taskRun) Handle(ctx context.Context) (json.RawMessage, error) {
	e, w, t := r.app.core, r.worker, r.task
	otherVersion := t.Fingerprint != "" && t.Fingerprint != w.Payload
	if otherVersion && e.app.warned.First(w.Name+" "+t.Fingerprint) {
		e.log.Warn("task has another version of the payload; unknown members are ignored, missing ones are zero",
			"queue", w.Name, "task", t.ID, "theirs", t.Fingerprint, "ours", w.Payload)
	}
	if t.DoneOf == "" {
		return w.handle(ctx, &r.is)
	}
	if w.SubtasksDone == nil {
		if otherVersion {
			return nil, guard.Undecoded(Errorf(ErrInvalidArgument, "the worker of queue %q has no SubtasksDone", w.Name))
		}
		return nil, nil // this version of the worker has no SubtasksDone
	}
	var source Task
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		source, err = e.store.Get(ctx, t.DoneOf)
		return err
	})
	if retry.Unavailable(err) {
		return nil, Snooze(retry.MaxPoll) // not a failure of the worker, so no attempt is charged
	}
	if err != nil {
		return nil, err
	}
	r.is.subtasks = subtasksOf(source.Subtasks, e.tasks.AllSubtasks(t.DoneOf))
	return w.handle(ctx, &r.is)
}

// Lines implements tasks.Run.
func (r *taskRun) Lines() []string { return r.is.log.Lines() }

// Failure implements tasks.Run. It logs what RedactErrors hides.
func (r *taskRun) Failure(ctx context.Context, err error) *backend.TaskError {
	if !r.app.settings.redact {
		return guard.TaskError(err)
	}
	e, hidden := redact.Error(err)
	if _, ok := errors.AsType[*guard.PanicError](err); hidden && !ok { // Report logs panics
		errorLogFrom(ctx).Warn("task failed, error redacted", "error", err)
	}
	return guard.Stored(e)
}

// Backoff implements tasks.Run.
func (r *taskRun) Backoff(ctx context.Context, err error) (time.Duration, bool) {
	if delay, ok := guard.RetryDelay(err); ok { // chosen in the child process
		return delay, true
	}
	return r.worker.retryDelay(errorLogFrom(ctx), r.task.Attempt, err)
}

// Report implements tasks.Run.
func (r *taskRun) Report(ctx context.Context, err error) {
	switch p, ok := errors.AsType[*guard.PanicError](err); { // middleware may have wrapped it
	case ok:
		errorLogFrom(ctx).Error("panic in a worker", p.Attrs()...)
	case err == error(guard.ErrGoexit):
		LoggerFrom(ctx).Error("worker ended its goroutine")
	}
}

// Logger implements tasks.Run.
func (r *taskRun) Logger(ctx context.Context) *slog.Logger { return LoggerFrom(ctx) }
