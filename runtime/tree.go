package runtime

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// A Tree is a task with all of its descendants, after they have ended: see [App.WaitTree].
type Tree struct {
	Task Task  // the task itself; its Subtasks has the counts of its own subtasks
	Done *Task // ran the SubtasksDone of Task; nil if none did

	// The number of tasks in the tree, by status: the task itself, its subtasks at all levels, and the tasks that ran
	// SubtasksDone.
	Total     int
	Succeeded int
	Failed    int
	Stopped   int
}

// String returns the task and the counts.
func (t Tree) String() string {
	return fmt.Sprintf("%v; with its tree %d tasks: %d succeeded, %d failed, %d stopped", t.Task, t.Total, t.Succeeded,
		t.Failed, t.Stopped)
}

// LogValue implements [slog.LogValuer] with the group task, total, succeeded, failed and stopped.
func (t Tree) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("task", t.Task), slog.Int("total", t.Total), slog.Int("succeeded", t.Succeeded),
		slog.Int("failed", t.Failed), slog.Int("stopped", t.Stopped))
}

// WaitTree blocks until a task has ended, and with it all of its descendants: its subtasks, its SubtasksDone, and
// theirs. For a task without subtasks it waits as [App.WaitTask] does. It reads each subtask once, after all subtasks
// of its source have ended. WaitTree returns a nil error whether or not the tasks succeeded.
//
// If there is no such task, or [Retention] deletes the tree before WaitTree has read it, the error is [ErrNotFound]. If
// ctx ends first, it has the code of ctx's error and [OutcomeUnknown], and the tasks keep running. In the handler of a
// task that is part of the tree, or that must return before the tree can end, it is [ErrFailedPrecondition].
func (a *App) WaitTree(ctx context.Context, id string) (Tree, error) {
	by, err := a.waiter(ctx, id)
	if err != nil {
		return Tree{}, err
	}
	n, err := a.process.WaitTree(ctx, id, by)
	if err != nil {
		return Tree{}, err
	}
	tree := Tree{Total: n.Total, Succeeded: n.Succeeded, Failed: n.Failed, Stopped: n.Stopped}
	if tree.Task, err = a.core.getTask(ctx, id); err != nil || tree.Task.Subtasks == nil {
		return tree, err
	}
	done, err := a.core.getTask(ctx, id+tasks.DoneSuffix)
	if CodeOf(err) == ErrNotFound {
		return tree, nil
	}
	tree.Done = &done
	return tree, err
}

// waiter returns the id of the task whose handler owns ctx, or "". It returns an error if the handler may not wait for
// the task id.
func (a *App) waiter(ctx context.Context, id string) (by string, err error) {
	if _, err := a.active(); err != nil {
		return "", err
	}
	if err := outsideTx(ctx, "waiting for a task"); err != nil {
		return "", err
	}
	if r := TaskFrom(ctx); r != nil {
		by = r.ID
	}
	if by == id {
		return "", Errorf(ErrFailedPrecondition, "task %s can't wait for itself: it ends when its handler returns", id).
			With(OutcomeNotSent)
	}
	return by, nil
}

func (p ownProcess) WaitTask(ctx context.Context, id, by string) (Task, error) {
	return p.app.core.tasks.Wait(ctx, id, by)
}

func (p ownProcess) WaitTree(ctx context.Context, id, by string) (backend.SubtaskCounts, error) {
	return p.app.core.tasks.WaitTree(ctx, id, by)
}
