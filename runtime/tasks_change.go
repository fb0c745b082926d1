package runtime

import (
	"context"
	"strconv"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/audit"
	"github.com/afgen/afgen/runtime/internal/submit"
)

// StopTask stops a task and all of its subtasks. Tasks that are waiting never run. The contexts of running handlers are
// cancelled with the cause [ErrTaskStopped], and their results are discarded. StopTask returns once the stop is stored,
// which may be before handlers return. Stopping a task that has ended has no effect. If there is no such task, it
// returns [ErrNotFound]. The message of the tasks' errors is the [Reason], with the name given by [By].
func (a *App) StopTask(ctx context.Context, id string, opts ...ActionOption) error {
	c, act, err := a.acting(opts)
	if err != nil {
		return err
	}
	err = c.requests.Do(ctx, func(ctx context.Context) error {
		return c.stopTask(ctx, backend.Stop{ID: id, Reason: act.Stopped()})
	})
	c.record(ctx, act, audit.TaskStop, id, "", err)
	return err
}

// DeleteTask deletes a task that has ended, with its subtasks. Deleting a task that does not exist has no effect. If the
// task or one of its subtasks has not ended, or the task is a subtask itself, it returns [ErrFailedPrecondition], and
// also for 30 s after the end of a task that a job has submitted.
func (a *App) DeleteTask(ctx context.Context, id string, opts ...ActionOption) error {
	c, act, err := a.acting(opts)
	if err != nil {
		return err
	}
	err = c.deleteTask(ctx, id)
	c.record(ctx, act, audit.TaskDelete, id, "", err)
	return err
}

// deleteTask deletes a task that has ended, with its tree.
func (c *core) deleteTask(ctx context.Context, id string) error {
	err := c.deleteStored(ctx, id)
	c.finals.DropTrees(id)
	return err
}

// deleteStored is deleteTask without the remembered statuses.
func (c *core) deleteStored(ctx context.Context, id string) error {
	if err := c.jobs.PrepareDelete(ctx, id); err != nil {
		return err
	}
	return c.requests.Do(ctx, func(ctx context.Context) error { return c.store.Delete(ctx, id) })
}

// RunNow makes a task that waits for its time, or for its next attempt, due now. A task that is due already does not
// change. If the task runs or has ended, or waits for its source to succeed, it returns [ErrFailedPrecondition]. If
// there is no such task, it returns [ErrNotFound].
func (a *App) RunNow(ctx context.Context, id string, opts ...ActionOption) error {
	c, act, err := a.acting(opts)
	if err != nil {
		return err
	}
	t, err := c.adjust(ctx, backend.Adjustment{ID: id, Now: true})
	c.record(ctx, act, audit.TaskRun, id, "", err)
	if err != nil {
		return err
	}
	c.client.Wake(t.Queue, []string{id})
	if len(t.Allow) > 0 {
		c.pollEverywhere(t.Queue)
	}
	return nil
}

// Reweigh changes the weight of a task that has not ended: n is from -1000 to 1000. If the task runs, the weight counts
// when it waits again. If the task has ended, it returns [ErrFailedPrecondition]. If there is no such task, it returns
// [ErrNotFound].
func (a *App) Reweigh(ctx context.Context, id string, n int, opts ...ActionOption) error {
	c, act, err := a.acting(opts)
	if err != nil {
		return err
	}
	if n < -submit.MaxWeight || n > submit.MaxWeight {
		return Errorf(ErrInvalidArgument, "weight %d out of range [-%d, %[2]d]", n, submit.MaxWeight).With(OutcomeNotSent)
	}
	_, err = c.adjust(ctx, backend.Adjustment{ID: id, Weight: &n})
	c.record(ctx, act, audit.TaskReweigh, id, strconv.Itoa(n), err)
	return err
}

func (c *core) adjust(ctx context.Context, adj backend.Adjustment) (t Task, err error) {
	err = c.requests.Do(ctx, func(ctx context.Context) (err error) {
		t, err = c.store.Adjust(ctx, adj)
		return err
	})
	return t, err
}
