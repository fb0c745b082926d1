package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/audit"
	"github.com/afgen/afgen/runtime/internal/hooks"
)

// Replace makes [App.RetryTask] delete the old task once the new one is stored. If the old task can't be deleted, because
// it is a subtask or has subtasks that have not ended, RetryTask returns [ErrFailedPrecondition] and changes nothing.
func Replace() RetryOption { return retryOption(func(o *TaskOptions) { o.replace = true }) }

// Payload makes [App.RetryTask] submit another payload, as JSON. If this App registers the queue's worker, the payload
// must decode as the worker's type, without unknown members; otherwise RetryTask returns [ErrInvalidArgument]. If the task
// has been retried already, Payload has no effect.
func Payload(json []byte) RetryOption {
	return retryOption(func(o *TaskOptions) { o.payload = append([]byte{}, json...) })
}

// A RetryOption is a [SubmitOption] that only [App.RetryTask] accepts.
type RetryOption interface{ SubmitOption }

type retryOption func(*TaskOptions)

func (f retryOption) applySubmit(o *TaskOptions)   { f(o) }
func (f retryOption) applySubtasks(o *TaskOptions) { f(o) }

// RetryTask submits a task that has ended again, as a new task, and returns the new task's id. The new task has the
// same queue, payload, weight, timeout, retries, unique key and allowed addresses, unless the options override them. Its
// attempts are counted from zero. It is not a subtask, even if the old task is one. Its RetryOf is the id of the old
// task.
//
// The old task does not change, except that its RetriedBy is set to the id of the new task. A task is retried once:
// another call, even a concurrent one with other options, returns the id in RetriedBy, so repeating a call is safe. To
// run the task once more, retry the new task. If [Retention] has deleted the new task, another call submits it again
// with the same id.
//
// The retry of a job's task counts as a task of the job: with [OverlapSkip] and [OverlapQueue], later due times are
// skipped or wait until it has ended. If another task of the job has not ended, RetryTask returns
// [ErrFailedPrecondition].
//
// If the task has not ended, RetryTask returns [ErrFailedPrecondition]. If another task with its unique key has not
// ended, it returns [ErrAlreadyExists].
//
// With [Replace] the old task is deleted once the new one is stored. If that fails, RetryTask returns the new task's id
// with the error, and another call deletes the old task. After that, another call returns [ErrNotFound].
func (a *App) RetryTask(ctx context.Context, id string, opts ...SubmitOption) (string, error) {
	options := submitOptions(opts)
	options.report(false)
	c, err := a.activeFor(options.action)
	if err != nil {
		return "", err
	}
	if err := outsideTx(ctx, "retrying a task"); err != nil {
		return "", err
	}
	by, err := c.retryTaskWith(ctx, id, options)
	c.record(ctx, options.action, audit.TaskRetry, id, by, err)
	return by, err
}

// retryTaskWith is RetryTask with checked options.
func (c *core) retryTaskWith(ctx context.Context, id string, options TaskOptions) (by string, err error) {
	old, err := c.getTask(ctx, id)
	if err != nil {
		return "", err
	}
	if !old.Status.Final() {
		return "", Errorf(ErrFailedPrecondition, "task %s is %s; only finished tasks can be retried", id, old.Status).
			With(OutcomeNotSent)
	}
	s := Submission{
		Worker:   Worker{Name: old.Queue, Weight: old.Weight, Payload: old.Fingerprint},
		Payloads: []json.RawMessage{old.Payload},
		Options:  options,
	}
	var created bool
	if h := c.app.hooks; h != nil {
		var end func(instrument.End)
		is := s.internal()
		start := is.Start()
		start.RetryOf, start.Metadata = id, hooks.Traced(old.Metadata, old.Trace)
		ctx, end = h.Submit(ctx, start)
		defer func() { h.EndSubmitOne(end, by, created, err) }()
	}
	s.metadata, s.trace = c.app.joined(ctx, old.Metadata, outgoing(ctx))
	s.trace = cmp.Or(s.trace, old.Trace)
	s.Options.action, s.Options.replace, s.Options.payload = action{}, false, nil
	if s.Options.UniqueKey == "" {
		s.Options.UniqueKey = old.UniqueKey
	}
	if s.Options.Timeout == 0 {
		s.Options.Timeout = old.Timeout
	}
	if s.Options.Retries == nil {
		s.Options.Retries = old.Retries
	}
	if options.payload != nil {
		s.Payloads[0] = options.payload
		if s.Worker.Payload, err = c.checkPayload(&old, options.payload); err != nil {
			return "", err
		}
	}
	if err := s.check(); err != nil {
		return "", err.With(OutcomeNotSent)
	}
	if options.replace && c.tasks == nil {
		return "", NewError(ErrUnimplemented, "Replace is not available in a child process").With(OutcomeNotSent)
	}
	if options.replace {
		if err := c.retries.CheckDeletable(ctx, &old); err != nil {
			return "", err
		}
	}
	var requireWorker func(context.Context, string) error
	if options.RequireWorker {
		requireWorker = c.requireWorker
	}
	is := s.internal()
	by, created, err = c.retries.Retry(ctx, &old, is.Task(0, ""), requireWorker)
	options.report(created)
	if err != nil || !options.replace {
		return by, err
	}
	if err := c.deleteTask(ctx, id); err != nil {
		return by, Errorf(CodeOf(err), "task %s is stored as the retry of %s, which is not deleted: %w", by, id, err)
	}
	return by, nil
}

// checkPayload returns an error if a payload is invalid for the retry of a task. If this App registers the queue's
// worker, it returns the worker's fingerprint, and otherwise that of the task.
func (c *core) checkPayload(old *Task, payload json.RawMessage) (fingerprint string, err error) {
	if !json.Valid(payload) {
		return "", Errorf(ErrInvalidArgument, "the payload of the retry of task %s is not JSON", old.ID).With(OutcomeNotSent)
	}
	i := slices.IndexFunc(c.app.workers, func(w WorkerSpec) bool { return w.Name == old.Queue })
	if i < 0 {
		return old.Fingerprint, nil
	}
	w := &c.app.workers[i]
	if w.checkPayload != nil {
		if err := w.checkPayload(payload); err != nil {
			return "", Errorf(ErrInvalidArgument, "the payload of the retry of task %s is not one of queue %q: %w", old.ID,
				old.Queue, err).With(OutcomeNotSent)
		}
	}
	return w.Payload, nil
}
