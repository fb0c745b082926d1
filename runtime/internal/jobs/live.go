package jobs

import (
	"context"
	"maps"
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
			if f.open() {
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

// countRun adds a task of [Catalog.Run] that is about to be inserted to a job's live tasks.
func (c *Catalog) countRun(ctx context.Context, job, id string) error {
	return c.edit(ctx, job, func(j *Document, now time.Time) (bool, error) {
		if j.revision == 0 {
			return false, backend.Errorf(backend.ErrNotFound, "job %q not found", job)
		}
		if j.Overlap == OverlapAllow || slices.Contains(j.Live, id) && now.Unix() < j.Held {
			return false, nil
		}
		left, err := c.liveTasks(ctx, j, now)
		if err != nil {
			return false, err
		}
		j.Live, j.Held = slices.DeleteFunc(left, func(other string) bool { return other == id }), now.Add(heldFor).Unix()
		j.addLive(id)
		return true, nil
	})
}

// liveTasks returns the job's tasks that have not ended or are about to be inserted.
func (c *Catalog) liveTasks(ctx context.Context, j *Document, now time.Time) ([]string, error) {
	if len(j.Live) == 0 {
		return nil, nil
	}
	statuses, err := c.cfg.Store.Statuses(ctx, j.Live)
	if err != nil {
		return nil, err
	}
	return j.liveIn(statuses, now), nil
}

// liveIn is liveTasks, given the statuses of the job's tasks that exist.
func (j *Document) liveIn(statuses map[string]backend.Status, now time.Time) (left []string) {
	for _, id := range j.Live {
		if status, exists := statuses[id]; exists && !status.Final() || !exists && now.Unix() < j.Held {
			left = append(left, id)
		}
	}
	return left
}

// addStatuses adds the statuses of those of the tasks that exist.
func (c *Catalog) addStatuses(ctx context.Context, to map[string]backend.Status, ids []string) error {
	some, err := c.cfg.Store.Statuses(ctx, ids)
	maps.Copy(to, some)
	return err
}
