package runtime

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/registration"
)

// A TaskHandler handles one attempt of a task: it decodes t.Payload, calls the worker and returns the encoded result.
// [WorkerMiddleware] wraps a TaskHandler in another. t is what [TaskFrom] returns for ctx.
type TaskHandler func(ctx context.Context, t *Running) (json.RawMessage, error)

// WorkerMiddleware wraps the [TaskHandler] of every worker and job that the App runs: it sees each attempt that calls
// Run, SubtasksDone or a function of [HandleJob]. The first middleware sees an attempt first and its result last. It
// sees a panic of a handler as an error with the code [ErrInternal]. The attempt's timeout includes it.
//
// Middleware may change the context, replace t.Payload before it calls next, and replace the result or the error, also
// by [Permanent] and [Snooze]. If it returns without calling next, its result and error are those of the attempt. A
// result must be the JSON of the worker's result. Nil is the zero value.
//
// For a handler that runs in a child process, the middleware runs there, too, and not in the parent. It does not see
// that its process was killed or exited.
func WorkerMiddleware(m ...func(TaskHandler) TaskHandler) AppOption {
	return func(s *settings) { s.worker = append(s.worker, withoutNil(m)...) }
}

// A Submitter submits the tasks of queues. [App] implements it. [SubmitMiddleware] wraps a Submitter in another.
type Submitter interface {
	// SubmitTasks stores tasks and returns their ids in order. With an error it returns the ids of the first tasks, as
	// far as they are known to be stored.
	SubmitTasks(ctx context.Context, s Submission) ([]string, error)
}

// A SubmitterFunc is a function that implements [Submitter].
type SubmitterFunc func(ctx context.Context, s Submission) ([]string, error)

// SubmitTasks calls f.
func (f SubmitterFunc) SubmitTasks(ctx context.Context, s Submission) ([]string, error) {
	return f(ctx, s)
}

// SubmitMiddleware wraps the [Submitter] through which the App submits tasks, that is, Submit, Store, SubmitMany and
// Subtasks of its queues, also in child processes. The first middleware sees a [Submission] first and its result last.
// It sees all tasks of SubmitMany or Subtasks at once. It may change the Submission and the context, for example by
// [WithMetadata], or return a result without submitting it.
//
// [App.RetryTask] does not pass it, since it copies a task that did. Neither do the tasks of jobs, nor those that the
// runtime submits for SubtasksDone. [WorkerMiddleware] sees them all.
func SubmitMiddleware(m ...func(Submitter) Submitter) AppOption {
	return func(s *settings) { s.submit = append(s.submit, withoutNil(m)...) }
}

// taskHandler returns the handler of a worker's tasks in this process, wrapped in the middleware.
func (a *App) taskHandler(w *WorkerSpec) (TaskHandler, error) {
	if len(a.settings.worker) == 0 {
		return func(ctx context.Context, t *Running) (json.RawMessage, error) { return w.call(ctx, t) }, nil
	}
	h := TaskHandler(func(ctx context.Context, t *Running) (result json.RawMessage, err error) {
		defer guard.Recover(&err)
		result, err = w.call(ctx, t)
		if guard.IsUndecoded(err) {
			t.undecoded = err
		}
		return result, guard.Check(err)
	})
	for i := len(a.settings.worker) - 1; i >= 0; i-- {
		if h = a.settings.worker[i](h); h == nil {
			return nil, Errorf(ErrInvalidArgument, "%s: a worker middleware returned nil", registration.Func(w.Package, w.Type))
		}
	}
	return func(ctx context.Context, t *Running) (json.RawMessage, error) {
		result, err := h(ctx, t)
		if err = guard.Check(err); err != nil {
			if t.undecoded != nil && errors.Is(err, t.undecoded) { // middleware may have wrapped it
				err = guard.Undecoded(err)
			}
			return nil, err
		}
		return guard.Result(w.Name, result, w.hasResult)
	}, nil
}

// call calls the worker. It is the end of the chain of worker middleware.
func (w *WorkerSpec) call(ctx context.Context, t *Running) (json.RawMessage, error) {
	if t.DoneOf != "" {
		return nil, w.SubtasksDone(ctx, t.Payload, *t.subtasks)
	}
	return w.Run(ctx, t.Payload)
}
