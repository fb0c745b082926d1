package jobs

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	freshFor   = 5 * time.Second // after that, a job is read again before its tasks are inserted
	stopWithin = time.Second     // how long a started fire may take when the scheduler is stopped
	queuedPoll = time.Second     // interval of checks whether an earlier task has ended
)

// isDue reports whether this scheduler would decide a due time now.
func (s *Scheduler) isDue(j *Document, now time.Time) bool {
	next := j.Next()
	return !next.IsZero() && !now.Before(next.Add(s.leader.lag()))
}

// isOpen reports whether this scheduler has work to do for a job now.
func (s *Scheduler) isOpen(j *Document, now time.Time) bool {
	return s.isDue(j, now) || len(j.Pending) > 0 && s.mayCarryOut(j, now)
}

// mayCarryOut reports whether this scheduler may carry out pending fires: it decided them itself, or the scheduler
// that did has not carried them out in time.
func (s *Scheduler) mayCarryOut(j *Document, now time.Time) bool {
	return s.wrote[j.id] == j.revision || !now.Before(time.Unix(j.Decided, 0).Add(s.leader.lag()))
}

// process handles a job, and returns the time until it may have more work.
func (s *Scheduler) process(ctx context.Context, j *Document, now time.Time) (time.Duration, error) {
	if s.clock.steady(time.Now()) && (j.clamped || j.ahead(now)) {
		if err := s.repair(ctx, j, now); err != nil {
			s.markStale(j.id)
			return 0, err
		}
	}
	if !s.isOpen(j, now) {
		wait := relist
		if next := j.Next(); !next.IsZero() {
			wait = min(wait, next.Add(s.leader.lag()).Sub(now))
		}
		if len(j.Pending) > 0 {
			wait = min(wait, followerLag)
		}
		return wait, nil
	}
	before := *j
	wait, err := s.fire(ctx, j, now)
	if err != nil {
		*j = before // the job is read again with the written changes
		s.markStale(j.id)
	}
	return wait, err
}

// fire decides due times and carries out pending ones. If the scheduler is stopped, it completes started fires for up
// to a second.
func (s *Scheduler) fire(ctx context.Context, j *Document, now time.Time) (time.Duration, error) {
	stopped := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
	defer cancel()
	defer context.AfterFunc(stopped, func() { time.AfterFunc(stopWithin, cancel) })()
	live := false
	if j.Overlap != OverlapAllow {
		var err error
		if live, err = s.dropEnded(ctx, j, now); err != nil {
			return 0, err
		}
	}
	if s.isDue(j, now) && j.decide(now, live) {
		j.read = time.Now()
		if err := s.catalog.write(ctx, j); err != nil {
			return 0, err
		}
		s.wrote[j.id] = j.revision
	}
	if err := s.carryOut(ctx, j, now, live); err != nil {
		return 0, err
	}
	wait := relist
	if len(j.Pending) > 0 {
		wait = queuedPoll
	}
	if next := j.Next(); !next.IsZero() {
		wait = min(wait, max(next.Add(s.leader.lag()).Sub(now), 0))
	}
	return wait, nil
}

// dropEnded removes ended tasks from a job's live ones, and reports whether any are left.
func (s *Scheduler) dropEnded(ctx context.Context, j *Document, now time.Time) (bool, error) {
	left, err := s.catalog.liveTasks(ctx, j, now)
	if err != nil {
		return false, err
	}
	j.Live = left
	return len(left) > 0, nil
}

// carryOut inserts the tasks of pending fires, records them in the history, and removes them from Pending. live
// reports whether an earlier task is still running. It is idempotent.
func (s *Scheduler) carryOut(ctx context.Context, j *Document, now time.Time, live bool) error {
	var tasks []backend.NewTask
	var entries []HistoryEntry
	n, fired := 0, j.Fired
	for ; n < len(j.Pending); n++ {
		f := j.Pending[n]
		if f.Skip == "" {
			if j.Overlap == OverlapQueue && (live || len(tasks) > 0) {
				break
			}
			tasks = append(tasks, j.task(FireID(j.id, f.Due)))
			fired = max(fired, f.Due)
		}
		entries = append(entries, HistoryEntry{Firing: f, At: now.Unix()})
	}
	if n == 0 {
		return nil
	}
	if time.Since(j.read) > freshFor {
		// This process was suspended. Other processes may have inserted these tasks, which may have ended and been deleted
		// since.
		return backend.NewError(backend.ErrAborted, "job must be read again")
	}
	if len(tasks) > 0 {
		stored, err := s.catalog.tasks.Insert(ctx, tasks)
		if err != nil {
			return err
		}
		ids := make([]string, len(stored))
		for i, t := range stored {
			ids[i] = t.ID
		}
		if j.Overlap != OverlapAllow {
			j.addLive(ids...)
		}
		s.catalog.wake(j, ids)
	}
	if err := s.catalog.addHistory(ctx, j.id, entries...); err != nil {
		return err
	}
	j.Pending, j.Fired = j.Pending[n:], fired
	if err := s.catalog.write(ctx, j); err != nil {
		return err
	}
	s.wrote[j.id] = j.revision
	return nil
}

// repair writes a job with impossible or far-ahead instants, so that it continues from now.
func (s *Scheduler) repair(ctx context.Context, j *Document, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	fixed := *j
	fixed.clamped = false
	fixed.rewind(now)
	if err := s.catalog.write(ctx, &fixed); err != nil {
		return err
	}
	s.catalog.cfg.Log.Warn("job had wrong times because of a wrong clock, continuing from now", "job", j.id,
		"decided until", time.Unix(j.Done, 0).UTC(), "now", now.UTC())
	fixed.read = time.Now()
	*j = fixed
	s.wrote[j.id] = j.revision
	return nil
}
