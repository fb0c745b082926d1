package jobs

import (
	"log/slog"
	"time"
)

const (
	retryFirst = relist // pause after a job's first failure; it doubles
	retryMax   = time.Minute
)

// failures are the jobs whose tasks or documents the store has refused. Each is retried after a pause, or when it has
// changed, so that it costs other jobs little. Only the scheduler's loop uses it.
type failures map[string]*failure

type failure struct {
	revision int64 // of the job
	pause    time.Duration
	until    time.Time
}

// add records that a job has failed. It logs the first failure.
func (f failures) add(log *slog.Logger, j *Document, err error) {
	x := f[j.id]
	if x == nil {
		x = &failure{pause: retryFirst}
		f[j.id] = x
		log.Error("firing a job failed, retrying", "job", j.id, "error", err)
	} else {
		x.pause = min(2*x.pause, retryMax)
	}
	x.revision, x.until = j.revision, time.Now().Add(x.pause)
}

// succeeded forgets the failures of a job.
func (f failures) succeeded(log *slog.Logger, j *Document) {
	if f.has(j) {
		log.Info("firing a job succeeded again", "job", j.id)
		delete(f, j.id)
	}
}

// has reports whether the last attempt to fire a job has failed.
func (f failures) has(j *Document) bool { return f[j.id] != nil }

// wait returns the time until a failed job is retried, and 0 for other jobs.
func (f failures) wait(j *Document) time.Duration {
	x := f[j.id]
	if x == nil || x.revision != j.revision {
		return 0
	}
	return max(time.Until(x.until), 0)
}
