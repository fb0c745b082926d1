package jobs

import (
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// Remove removes a job and its history. Removing a job that does not exist is no error.
func (c *Catalog) Remove(ctx context.Context, id string) error {
	return c.remove(ctx, id, func(*Document) bool { return true })
}

// remove removes a job if it exists and allowed reports true for it.
func (c *Catalog) remove(ctx context.Context, id string, allowed func(*Document) bool) error {
	deleted := false
	err := retry.Update(ctx, func(ctx context.Context) error {
		pending := false
		err := c.cfg.Requests.Do(ctx, func(ctx context.Context) error {
			j, err := c.load(ctx, id, nil)
			switch {
			case backend.CodeOf(err) == backend.ErrNotFound:
				return nil
			case err != nil:
				return err
			case !allowed(j):
				return nil
			}
			if pending = len(j.Pending)+len(j.Dropped) > 0; pending {
				return nil
			}
			deleted = true // or it may not have been deleted; a retry may find no job
			return c.cfg.Docs.Delete(ctx, docPrefix+id, j.revision)
		})
		if err != nil || !pending {
			return err
		}
		// A scheduler may be about to submit pending fires.
		if err := c.Disable(ctx, id, Action{}); err != nil && backend.CodeOf(err) != backend.ErrNotFound {
			return err
		}
		return backend.Errorf(backend.ErrAborted, "job %q changed while it was being removed", id)
	})
	if err != nil || !deleted {
		return err
	}
	c.deleteHistory(ctx, id)
	c.publish(id)
	return nil
}

// Disable disables a job. After it has returned nil, no scheduler submits a task that was decided before. It writes
// the document twice: first it moves Pending to Dropped, and after [Catalog.dropFires] it clears Dropped. If it is
// interrupted in between, the next Disable or Enable completes it.
func (c *Catalog) Disable(ctx context.Context, id string, by Action) error {
	var dropped []Firing
	err := c.change(ctx, id, func(j *Document, now time.Time) bool {
		changes := !j.Disabled || len(j.Pending) > 0
		if !j.Disabled {
			j.change(by, now)
		}
		j.Disabled = true
		first := true
		for _, f := range j.Pending {
			switch {
			case !f.open(): // recorded in the history
			case first:
				first = false
			case j.Overlap == OverlapQueue && !f.Sent: // not being submitted: these are submitted one by one
				continue
			}
			j.Dropped = append(j.Dropped, f)
		}
		j.Pending, dropped = nil, j.Dropped
		return changes
	})
	if err != nil || len(dropped) == 0 {
		return err
	}
	if err := c.dropFires(ctx, id, dropped); err != nil {
		return err // Dropped remains; the next Disable continues
	}
	err = c.change(ctx, id, func(j *Document, now time.Time) bool {
		n := len(j.Dropped)
		j.Dropped = slices.DeleteFunc(j.Dropped, func(f Firing) bool { // it may have been marked as ended meanwhile
			return slices.ContainsFunc(dropped, func(d Firing) bool { return d.Due == f.Due && d.Skip == f.Skip })
		})
		if len(j.Dropped) == n {
			return false
		}
		j.addLate(now, dropped)
		for _, f := range dropped {
			if f.open() && j.Overlap != OverlapAllow { // it may have been submitted before and still be running
				j.addLive(FireID(id, f.Due))
			}
		}
		return true
	})
	if backend.CodeOf(err) == backend.ErrNotFound {
		return nil
	}
	return err
}

// Enable enables a job. Due times during the pause don't count as missed. It first completes an interrupted Disable,
// because later due times must know which tasks are live. A job whose instants are far ahead continues from now.
func (c *Catalog) Enable(ctx context.Context, id string, by Action) error {
	return retry.Update(ctx, func(ctx context.Context) error {
		interrupted := false
		err := c.change(ctx, id, func(j *Document, now time.Time) bool {
			if interrupted = len(j.Dropped) > 0; interrupted {
				return false
			}
			ahead := j.ahead(now)
			if ahead {
				j.rewind(now)
			}
			if !j.Disabled {
				return ahead
			}
			j.change(by, now)
			j.Disabled = false
			j.Done = max(j.Done, now.Unix())
			return true
		})
		if err != nil || !interrupted {
			return err
		}
		if err := c.Disable(ctx, id, Action{}); err != nil {
			return err
		}
		return backend.Errorf(backend.ErrAborted, "job %q is being disabled by another process", id)
	})
}

// dropFires takes the ids of fires whose tasks must not be submitted any more. A scheduler that decided a fire before
// the job was disabled may still insert its task. So dropFires inserts the task itself, due in a hundred years, and
// stops it; the scheduler's insert then changes nothing. It doesn't stop tasks that exist, which were submitted
// before. It adds skipped due times to the history.
func (c *Catalog) dropFires(ctx context.Context, id string, fires []Firing) error {
	j, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	now, err := c.now(ctx)
	if err != nil {
		return err
	}
	never := now.AddDate(100, 0, 0)
	var tasks []backend.NewTask
	var entries []HistoryEntry
	for _, f := range fires {
		if !f.open() {
			entries = append(entries, entryOf(f, now))
			continue
		}
		t := j.task(FireID(id, f.Due))
		t.Task.Status, t.Task.RunAt = backend.StatusWaiting, never
		tasks = append(tasks, t)
	}
	var stored []backend.Task
	err = c.cfg.Requests.Do(ctx, func(ctx context.Context) error {
		some, err := c.insert(ctx, tasks)
		stored, tasks = append(stored, some...), tasks[len(some):]
		return err
	})
	if err != nil {
		return err
	}
	if err := c.cfg.Requests.Do(ctx, func(ctx context.Context) error {
		return c.addHistory(ctx, id, entries)
	}); err != nil {
		return err
	}
	for _, t := range stored {
		if t.Status.Final() || t.RunAt.Before(now.AddDate(50, 0, 0)) {
			continue
		}
		err := c.cfg.Requests.Do(ctx, func(ctx context.Context) error {
			return c.tasks.Stop(ctx, t.ID, "job disabled before the task was submitted")
		})
		if err != nil && backend.CodeOf(err) != backend.ErrNotFound {
			return err
		}
	}
	return nil
}
