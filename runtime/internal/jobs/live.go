package jobs

import (
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// heldFor is how long a task that is about to be inserted counts as live.
const heldFor = 30 * time.Second

// CountTask adds a task that is about to be inserted to a job's live tasks, which later due times check for overlap.
// It returns ErrFailedPrecondition if another task of the job has not ended. If job is empty or doesn't exist, or its
// tasks may overlap, CountTask does nothing.
func (c *Catalog) CountTask(ctx context.Context, job, id string) error {
	if job == "" || c.cfg.Docs == nil {
		return nil
	}
	return c.edit(ctx, job, func(j *Document, now time.Time) (bool, error) {
		if j.revision == 0 || j.Overlap == OverlapAllow {
			return false, nil
		}
		var busy string
		for _, f := range j.Pending {
			if f.Skip == "" {
				busy = FireID(job, f.Due)
			}
		}
		if busy == "" {
			left, err := c.liveTasks(ctx, j, now)
			if err != nil {
				return false, err
			}
			left = slices.DeleteFunc(left, func(other string) bool { return other == id })
			if len(left) > 0 {
				busy = left[0]
			}
		}
		if busy != "" {
			return false, backend.Errorf(backend.ErrFailedPrecondition, "job %q has overlap %s, and its task %s has not ended",
				job, j.Overlap, busy).With(backend.OutcomeNotSent)
		}
		j.Live, j.Held = []string{id}, now.Add(heldFor).Unix()
		return true, nil
	})
}

// liveTasks returns the job's tasks that have not ended or are about to be inserted.
func (c *Catalog) liveTasks(ctx context.Context, j *Document, now time.Time) (left []string, err error) {
	for _, id := range j.Live {
		t, err := c.tasks.Get(ctx, id)
		switch {
		case backend.CodeOf(err) == backend.ErrNotFound && now.Unix() < j.Held:
			left = append(left, id)
		case backend.CodeOf(err) == backend.ErrNotFound, err == nil && t.Status.Final():
		case err != nil:
			return nil, err
		default:
			left = append(left, id)
		}
	}
	return left, nil
}
