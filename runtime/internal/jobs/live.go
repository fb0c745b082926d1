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

// adoptLive sets the live tasks of a job whose tasks could overlap until now, so that none was kept. It finds those in
// its history, and among the fires that it may lack.
func (c *Catalog) adoptLive(ctx context.Context, j *Document) error {
	h, _, err := c.history(ctx, j.id)
	if err != nil && backend.CodeOf(err) != backend.ErrDataLoss { // an unreadable one can't hold up the change
		return err
	}
	var ids []string
	for _, f := range h.Fires {
		switch {
		case f.Task != "":
			ids = append(ids, f.Task)
		case f.Skip == "":
			ids = append(ids, FireID(j.id, f.Due))
		}
	}
	for _, f := range slices.Concat(j.Pending, j.Dropped, j.Late) {
		if id := FireID(j.id, f.Due); f.Skip == "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	statuses, err := c.cfg.Store.Statuses(ctx, ids)
	if err != nil {
		return err
	}
	j.Live = nil
	j.addLive(slices.DeleteFunc(ids, func(id string) bool { return statuses[id] == "" || statuses[id].Final() })...)
	return nil
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
