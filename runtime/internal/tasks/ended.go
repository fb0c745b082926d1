package tasks

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// TreeEnded reports whether the tree of a task has ended: the task, its subtasks at all levels, and the tasks that run
// SubtasksDone. It reads all of them, a page at a time.
func (c *Client) TreeEnded(ctx context.Context, t *backend.Task) (bool, error) {
	return c.treeEnded(ctx, t, 0)
}

func (c *Client) treeEnded(ctx context.Context, t *backend.Task, depth int) (bool, error) {
	switch {
	case !t.Status.Final() || t.Spawned && t.Subtasks == nil:
		return false, nil
	case !t.Spawned:
		return true, nil
	case depth == maxDepth:
		return false, backend.Errorf(backend.ErrResourceExhausted, "task %s has %d levels of tasks above it", t.ID, depth)
	}
	q := backend.TaskQuery{Source: t.ID, Sort: backend.SortOldest, Limit: treePageTasks, Bytes: treePageBytes}
	for {
		var sources []backend.Task // a page holds payloads, which must not be kept at each level
		err := c.requests.Do(ctx, func(ctx context.Context) error {
			page, err := c.store.List(ctx, q)
			if err != nil {
				return err
			}
			sources = sources[:0]
			for i := range page.Tasks {
				if s := &page.Tasks[i]; s.Spawned || !s.Status.Final() {
					sources = append(sources, s.Head())
				}
			}
			q.Cursor = page.Cursor
			return nil
		})
		if err != nil {
			return false, err
		}
		for i := range sources {
			if ended, err := c.treeEnded(ctx, &sources[i], depth+1); !ended || err != nil {
				return false, err
			}
		}
		if q.Cursor == "" {
			break
		}
	}
	var done backend.Task
	err := c.requests.Do(ctx, func(ctx context.Context) (err error) {
		done, err = c.store.Get(ctx, t.ID+DoneSuffix)
		return err
	})
	if backend.CodeOf(err) == backend.ErrNotFound {
		return true, nil // its worker has no SubtasksDone, or it isn't inserted yet, which the store's Delete notices
	}
	if err != nil {
		return false, err
	}
	return c.treeEnded(ctx, &done, depth+1)
}

// Outcome returns the error of a task for those who wait for its result: nil if it has succeeded.
func Outcome(t *backend.Task) error {
	switch {
	case !t.Status.Final():
		return backend.Errorf(backend.ErrFailedPrecondition, "task %s is %s", t.ID, t.Status)
	case t.Status == backend.StatusSuccess: // older versions kept the error of an earlier attempt
		return nil
	case t.Error == nil:
		return backend.Errorf(backend.ErrUnknown, "task %s is %s", t.ID, t.Status).With(backend.OutcomeAnswered)
	}
	return t.Error.Err()
}
