package jobs

import (
	"context"
	"slices"

	"github.com/afgen/afgen/runtime/backend"
)

// RecordEnded adds pending fires whose tasks have ended to the histories. It must be called before tasks are deleted: if
// the scheduler that inserted a task died before it recorded that, another one inserts it again, which is only harmless
// as long as the task exists or the history has its due time.
func (c *Catalog) RecordEnded(ctx context.Context) error {
	if c.cfg.Docs == nil {
		return nil
	}
	jobs, err := c.All(ctx, "")
	if err != nil {
		return err
	}
	var ids []string
	for _, j := range jobs {
		for _, p := range j.submitted() {
			ids = append(ids, FireID(j.id, p.Due))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	statuses := map[string]backend.Status{}
	for part := range slices.Chunk(ids, maxBatchTasks) {
		if err := c.addStatuses(ctx, statuses, part); err != nil {
			return err
		}
	}
	now, err := c.now(ctx)
	if err != nil {
		return err
	}
	var notes []*note
	for _, j := range jobs {
		n := &note{job: j.id}
		for _, p := range j.submitted() {
			if statuses[FireID(j.id, p.Due)].Final() {
				n.entries = append(n.entries, HistoryEntry{Firing: p, At: now.Unix()})
			}
		}
		if len(n.entries) > 0 {
			notes = append(notes, n)
		}
	}
	c.addHistories(ctx, notes)
	for _, n := range notes {
		if _, err := c.load(ctx, n.job, nil); backend.CodeOf(err) == backend.ErrNotFound {
			c.deleteHistory(ctx, n.job) // the job may have been removed before its history was written
		}
		// A history that can't be decoded delays no purge: its job does not fire.
		if n.err != nil && backend.CodeOf(n.err) != backend.ErrDataLoss {
			return n.err
		}
	}
	return nil
}

// submitted returns the pending fires whose tasks may have been inserted.
func (j *Document) submitted() (fires []Firing) {
	for _, p := range j.Pending {
		if p.Skip != "" {
			continue
		}
		if fires = append(fires, p); j.Overlap == OverlapQueue {
			break // the others wait for this one
		}
	}
	return fires
}
