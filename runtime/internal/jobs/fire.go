package jobs

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
)

const (
	freshFor   = 5 * time.Second // after that, a job is read again before its tasks are inserted
	stopWithin = time.Second     // how long started fires may take when the scheduler is stopped
	queuedPoll = time.Second     // interval of checks whether an earlier task has ended
)

// A fire is a job that has work in one pass of the scheduler.
type fire struct {
	job    *Document
	before Document // as read
	err    error    // why the work failed; the remaining steps skip the job

	live bool // the task of an earlier due time has not ended

	taken    int               // how many of Pending are carried out
	inserted time.Time         // when the insert of their tasks began
	stored   time.Time         // when it had succeeded
	ended    map[string]bool   // those of their tasks that had ended before
	tasks    []backend.NewTask // their tasks, while being inserted
	fired    int64             // the last due time with a task
	done     []Firing          // what was carried out
	observed func(instrument.End)
	ids      []string // of tasks, for observed
}

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

// wait returns the time until a job may have more work.
func (s *Scheduler) wait(j *Document, now time.Time) time.Duration {
	if left := s.failed.wait(j); left > 0 {
		return left
	}
	wait := relist
	if next := j.Next(); !next.IsZero() {
		wait = min(wait, max(next.Add(s.leader.lag()).Sub(now), 0))
	}
	switch {
	case len(j.Pending) == 0:
	case s.mayCarryOut(j, now): // they wait for an earlier task
		wait = min(wait, queuedPoll)
	default:
		wait = min(wait, followerLag)
	}
	return wait
}

// due returns the time since when a job has had work.
func (f *fire) due() int64 {
	if len(f.job.Pending) > 0 {
		return f.job.Pending[0].Due
	}
	return f.job.Next().Unix()
}

// take takes the fires to carry out from Pending, and sets the tasks to insert.
func (f *fire) take() {
	j := f.job
	f.fired, f.taken, f.tasks = j.Fired, 0, nil
	busy := f.live
	for _, p := range j.Pending {
		if p.open() {
			if j.Overlap == OverlapQueue && busy {
				break
			}
			busy = true
			f.tasks = append(f.tasks, j.task(FireID(j.id, p.Due)))
		}
		if p.Skip == "" {
			f.fired = max(f.fired, p.Due)
		}
		f.taken++
	}
	if f.taken > 0 && time.Since(j.read) > freshFor {
		// This process was suspended. Other processes may have inserted these tasks, which may have ended and been deleted
		// since.
		f.err = backend.NewError(backend.ErrAborted, "job must be read again")
	}
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
