package tasks

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// Bounds of a page of subtasks, of which a treeWait holds one.
const (
	treePageTasks = 500
	treePageBytes = 4 << 20
)

// WaitTree waits until the tree of a task has ended: the task, its subtasks at all levels, and the tasks that run
// SubtasksDone. It returns how many tasks these are, by status. by is as for [Engine.Wait]. Each set of subtasks is
// read once, after it is finished. Until then WaitTree waits for one task at a time, so it costs no more than a Wait.
func (e *Engine) WaitTree(ctx context.Context, id, by string) (backend.SubtaskCounts, error) {
	w := treeWait{e: e, by: by}
	if err := w.refuseOwn(ctx, id); err != nil {
		return backend.SubtaskCounts{}, err
	}
	t, err := e.Wait(ctx, id, by)
	if err == nil {
		err = w.task(ctx, &t, 0)
	}
	return w.counts, err
}

// A treeWait is a call of WaitTree.
type treeWait struct {
	e      *Engine
	by     string
	counts backend.SubtaskCounts
}

// refuseOwn returns an error if the tree of a task contains the task that waits, which could never end.
func (w *treeWait) refuseOwn(ctx context.Context, id string) error {
	at := w.by
	for range maxDepth {
		if at == "" {
			break
		}
		var t backend.Task
		err := w.e.poll(ctx, at, func() (_ bool, err error) {
			t, err = w.e.Ports.Store.Get(ctx, at)
			return true, err
		}, nil)
		if backend.CodeOf(err) == backend.ErrNotFound {
			break
		}
		if err != nil {
			return err
		}
		if at = t.Source; t.DoneOf != "" && t.ID == t.DoneOf+DoneSuffix {
			at = t.DoneOf
		}
		if at == id {
			return backend.Errorf(backend.ErrFailedPrecondition,
				"handler of task %s waits for the tree of task %s, which ends after the handler returns", w.by, id).
				With(backend.OutcomeNotSent)
		}
	}
	return nil
}

// task counts a task that has ended, and waits for its tree.
func (w *treeWait) task(ctx context.Context, t *backend.Task, depth int) error {
	w.counts.Total++
	switch t.Status {
	case backend.StatusSuccess:
		w.counts.Succeeded++
	case backend.StatusFailed:
		w.counts.Failed++
	default:
		w.counts.Stopped++
	}
	if !t.Spawned {
		return nil
	}
	if depth == maxDepth {
		return backend.Errorf(backend.ErrResourceExhausted, "task %s has %d levels of tasks above it", t.ID, depth)
	}
	if err := w.set(ctx, t.ID); err != nil {
		return err
	}
	if err := w.subtasks(ctx, t.ID, depth); err != nil {
		return err
	}
	done, err := w.e.Wait(ctx, t.ID+DoneSuffix, w.by)
	if backend.CodeOf(err) == backend.ErrNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return w.task(ctx, &done, depth+1)
}

// set waits until the set of a source is finished, and its SubtasksDone task exists if there is one. A process may have
// finished the set and ended before it inserted that task, so set ensures this itself.
func (w *treeWait) set(ctx context.Context, source string) error {
	return w.e.poll(ctx, source, func() (bool, error) {
		t, err := w.e.Ports.Store.Get(ctx, source)
		if err != nil || t.Subtasks == nil {
			return false, err
		}
		return w.e.finishSet(ctx, source)
	}, nil)
}

// subtasks counts the subtasks of a finished set, and waits for their trees.
func (w *treeWait) subtasks(ctx context.Context, source string, depth int) error {
	q := backend.TaskQuery{Source: source, Sort: backend.SortOldest, Limit: treePageTasks, Bytes: treePageBytes}
	for {
		var heads []backend.Task // a page holds payloads, which must not be kept at each level
		err := w.e.poll(ctx, source, func() (bool, error) {
			page, err := w.e.Ports.Store.List(ctx, q)
			if err != nil {
				return false, err
			}
			heads = heads[:0]
			for i := range page.Tasks {
				heads = append(heads, page.Tasks[i].Head())
			}
			q.Cursor = page.Cursor
			return true, nil
		}, nil)
		if err != nil {
			return err
		}
		for i := range heads {
			if err := w.task(ctx, &heads[i], depth+1); err != nil {
				return err
			}
		}
		if q.Cursor == "" {
			return nil
		}
	}
}
