package runtime

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// engine returns what runs tasks, where there is one and it has been started.
func (a *App) engine() (*engine, error) {
	if err := a.admit(); err != nil {
		return nil, err
	}
	if a.tasks == nil {
		return nil, Errorf(ErrUnimplemented, "the backend %s keeps no tasks", a.ports.Name).With(OutcomeNotSent)
	}
	return a.tasks, nil
}

// StopTask stops a task and everything under it: what waits never runs, and the context of what runs ends with
// [ErrTaskStopped] as its cause. It returns once that is recorded; a handler may take a moment to see it, and its result
// no longer counts. Stopping what has ended is harmless; ErrNotFound says that there is no such task.
func (a *App) StopTask(ctx context.Context, id string) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	return e.requests.Do(ctx, func(ctx context.Context) error {
		return e.stopTask(ctx, backend.Stop{ID: id, Reason: "stopped on request"})
	})
}

// stopTask stops tasks in the store and handles what follows from it.
func (e *engine) stopTask(ctx context.Context, s backend.Stop) error {
	return e.app.process.StopTasks(ctx, s)
}

// GetTask implements [TaskClient].
func (a *App) GetTask(ctx context.Context, id string) (Task, error) {
	e, err := a.engine()
	if err != nil {
		return Task{}, err
	}
	t, err := e.store.Get(ctx, id)
	if err != nil {
		return Task{}, backend.AsError(err)
	}
	return t, nil
}

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

// lookEverywhere makes the workers of a queue look at all instances.
func (e *engine) lookEverywhere(queue string) { e.bus.Publish(tasks.TopicLook, []string{queue}) }
