package runtime

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	waitFirst = 100 * time.Millisecond // between looks without a notification
	waitMost  = 2 * time.Second
	maxDepth  = 1000 // levels of subtasks that a wait looks through
)

// WaitTask implements [TaskClient]. It goes by notifications and looks for itself now and then. In the handler of a task it refuses,
// with ErrFailedPrecondition, to wait for what can't begin before the handler returns: the task itself, and what is behind the gate
// of its subtasks.
func (a *App) WaitTask(ctx context.Context, id string) (Task, error) {
	if _, err := a.engine(); err != nil {
		return Task{}, err
	}
	if err := outsideTx(ctx, "waiting for a task"); err != nil {
		return Task{}, err
	}
	by := ""
	if r := TaskFrom(ctx); r != nil {
		by = r.ID
	}
	if by == id {
		return Task{}, Errorf(ErrFailedPrecondition, "the handler of task %s waits for its own task, which can't end before the handler "+
			"returns", id).With(OutcomeNotSent)
	}
	return a.process.WaitTask(ctx, id, by)
}

// wait waits for a task, for the handler of the task by if that isn't empty.
func (e *engine) wait(ctx context.Context, id, by string) (Task, error) {
	ch := e.waits.add(id)
	defer e.waits.remove(id, ch)
	pause := waitFirst
	for {
		t, err := e.store.Get(ctx, id)
		switch code := CodeOf(err); {
		case err == nil && t.Status.Final():
			return t, nil
		case err == nil && by != "" && t.Gated && e.needs(ctx, t, by):
			return Task{}, Errorf(ErrFailedPrecondition, "the handler of task %[2]s waits for task %[1]s, which is a subtask under it and "+
				"can't begin before the handler returns: use SubtasksDone, or submit it with RunNow", id, by).With(OutcomeNotSent)
		case ctx.Err() != nil:
			return Task{}, waited(ctx, id)
		case err != nil && code != ErrUnavailable && code != ErrDeadlineExceeded:
			return Task{}, backend.AsError(err)
		}
		timer := time.NewTimer(retry.Jitter(pause))
		select {
		case <-ch:
		case <-timer.C:
			pause = min(2*pause, waitMost)
		case <-ctx.Done():
			timer.Stop()
			return Task{}, waited(ctx, id)
		case <-e.ctx.Done():
			timer.Stop()
			return Task{}, Errorf(ErrUnavailable, "the app was shut down while waiting for task %s", id)
		}
		timer.Stop()
	}
}

// waited is the error of a wait that was cut short; the task goes on.
func waited(ctx context.Context, id string) *Error {
	return Errorf(CodeOf(ctx.Err()), "waiting for task %s: %w", id, context.Cause(ctx)).With(OutcomeUnknown)
}

// needs reports whether a gated task can't begin before the handler of the task by has returned: all gates from it up to by are shut.
// If that can't be read now, the next look tells.
func (e *engine) needs(ctx context.Context, t Task, by string) bool {
	for range maxDepth {
		source, err := e.store.Get(ctx, t.Source)
		switch {
		case err != nil, source.Status.Final(): // the gate is about to open
			return false
		case source.ID == by:
			return true
		case !source.Gated:
			return false
		}
		t = source
	}
	return false
}
