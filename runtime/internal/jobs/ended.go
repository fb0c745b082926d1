package jobs

import (
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// keptFor is how long the task of a fire is kept after its end, and after its pending fire was marked as ended. It is
// longer than a scheduler takes from reading the job until the store has inserted the task: freshFor + opTimeout.
const keptFor = 30 * time.Second

// Purgeable prepares a purge of tasks. It returns the store's time before which a task must have ended to be deleted,
// also if there are no jobs, since the last one may have been removed just now. It marks pending fires whose tasks have
// ended. The tasks of fires that were marked just now are kept, and with them all that ended later.
func (c *Catalog) Purgeable(ctx context.Context) (before time.Time, err error) {
	if c.cfg.Docs == nil {
		return time.Time{}, nil
	}
	jobs, err := c.All(ctx, "")
	if err != nil {
		return time.Time{}, err
	}
	now, err := c.now(ctx)
	if err != nil {
		return time.Time{}, err
	}
	before = now.Add(-keptFor)
	statuses, err := c.submittedStatuses(ctx, jobs)
	if err != nil {
		return time.Time{}, err
	}
	var changed []*Document
	for _, j := range jobs {
		if j.markEnded(now, func(id string) bool { return statuses[id].Final() }) {
			changed = append(changed, j)
		}
	}
	refused := map[string]bool{}
	for part := range slices.Chunk(changed, maxBatch) {
		for i, err := range c.writeAll(ctx, part) {
			switch {
			case retry.Refused(err): // it must not delay purges for ever
				refused[part[i].id] = true
			case err != nil && backend.CodeOf(err) != backend.ErrAborted: // if another process has changed it, keep its task
				return time.Time{}, err
			}
		}
	}
	for _, j := range jobs {
		for _, p := range j.submitted() {
			if due := time.Unix(p.Due, 0); p.recentlyEnded(now) && due.Before(before) && !refused[j.id] {
				before = due // its task has ended later
			}
		}
	}
	return before, nil
}

// PrepareDelete prepares the deletion of a task. If the task is of a fire that a scheduler may still submit,
// PrepareDelete returns ErrFailedPrecondition. It costs nothing for other tasks.
func (c *Catalog) PrepareDelete(ctx context.Context, id string) error {
	job, due, ok := parseFireID(id)
	if !ok || c.cfg.Docs == nil {
		return nil
	}
	var task backend.Task
	err := c.cfg.Requests.Do(ctx, func(ctx context.Context) (err error) {
		task, err = c.cfg.Store.Get(ctx, id)
		return err
	})
	switch {
	case backend.CodeOf(err) == backend.ErrNotFound:
		return nil
	case err != nil:
		return err
	case !task.Status.Final():
		return nil // the store refuses to delete it
	}
	var left time.Duration // until it may be deleted
	err = c.edit(ctx, job, func(j *Document, now time.Time) (changed bool, _ error) {
		changed = j.markEnded(now, func(other string) bool { return other == id })
		left = keptFor - now.Sub(task.Ended)
		for _, p := range j.submitted() {
			if p.Due == due && p.Ended != 0 {
				left = max(left, keptFor-now.Sub(time.Unix(p.Ended, 0)))
			}
		}
		return changed, nil
	})
	if err == nil && left > 0 {
		err = backend.Errorf(backend.ErrFailedPrecondition,
			"task %q is of a due time that a scheduler may be submitting: delete it %s later", id,
			max(left.Round(time.Second), time.Second)).With(backend.OutcomeNotSent)
	}
	return err
}

// submittedStatuses returns the statuses of the tasks of submitted fires that are not marked as ended.
func (c *Catalog) submittedStatuses(ctx context.Context, jobs []*Document) (map[string]backend.Status, error) {
	var ids []string
	for _, j := range jobs {
		for _, p := range j.submitted() {
			if p.open() {
				ids = append(ids, FireID(j.id, p.Due))
			}
		}
	}
	statuses := make(map[string]backend.Status, len(ids))
	for part := range slices.Chunk(ids, maxBatchTasks) {
		if err := c.addStatuses(ctx, statuses, part); err != nil {
			return nil, err
		}
	}
	return statuses, nil
}

// submitted returns the fires whose tasks may have been inserted, and which schedulers may still have to carry out.
func (j *Document) submitted() (fires []*Firing) {
	for i := range j.Pending {
		p := &j.Pending[i]
		if p.Skip != "" {
			continue
		}
		if fires = append(fires, p); j.Overlap == OverlapQueue && p.open() && !p.Sent {
			break // the others wait for this one
		}
	}
	for _, list := range [][]Firing{j.Dropped, j.Late} {
		for i := range list {
			if list[i].Skip == "" {
				fires = append(fires, &list[i])
			}
		}
	}
	return fires
}

// markEnded marks submitted fires whose tasks have ended, and reports whether there are new ones.
func (j *Document) markEnded(now time.Time, ended func(id string) bool) (changed bool) {
	for _, p := range j.submitted() {
		if p.open() && ended(FireID(j.id, p.Due)) {
			p.Ended, changed = now.Unix(), true
		}
	}
	return changed
}

// recentlyEnded reports whether a fire was marked so recently that a scheduler may still insert its task. A mark that is
// far ahead was made with a wrong clock.
func (f *Firing) recentlyEnded(now time.Time) bool {
	return f.Ended != 0 && now.Sub(time.Unix(f.Ended, 0)).Abs() < keptFor
}

// keepLate adds the fires that are carried out late to Late: their tasks may have ended so long ago that they could be
// deleted at once, but another scheduler may have read the job just before and still insert them. It sets the errors of
// the fires.
func (s *Scheduler) keepLate(ctx context.Context, batch []*fire, now time.Time) {
	for _, f := range batch {
		var late []Firing
		for _, p := range f.job.Pending[:f.taken] {
			if p.recentlyEnded(now) || p.open() && (f.ended[FireID(f.job.id, p.Due)] || time.Since(f.inserted) >= freshFor) {
				late = append(late, p)
			} // otherwise its task ends later, and is kept after that
		}
		at := now
		if len(late) > 0 {
			at, f.err = s.catalog.cfg.Store.Now(ctx) // now may be many seconds old
		}
		if f.err == nil {
			f.job.addLate(at, late)
		}
	}
}

// addLate adds fires that have been carried out to Late, and removes those of which no scheduler can insert the task any
// more.
func (j *Document) addLate(now time.Time, fires []Firing) {
	j.Late = slices.DeleteFunc(slices.Clone(j.Late), func(f Firing) bool { return !f.recentlyEnded(now) })
	for _, f := range fires {
		if f.Skip == "" {
			j.Late = append(j.Late, Firing{Due: f.Due, Ended: now.Unix()})
		}
	}
}
