package runtime

import (
	"context"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	maxAhead     = time.Hour        // of a job's instants before the store's clock; more comes from a clock that was wrong
	maxStep      = time.Minute      // of the store's clock beside this process's, from one look to the next
	steadyAfter  = 10 * time.Second // what the store's clock says after a leap counts
	latestSecond = 253402300799     // of the year 9999
)

// A storeClock decides whether what the store says of the time may be acted on: a clock that leaps is wrong for a moment
// more often than it was wrong until then. It compares the store's clock with this process's monotonic one. Only the
// scheduler's loop uses it.
type storeClock struct {
	base  reading // the last one that counts
	leap  reading // since when the clock says otherwise; zero if it doesn't
	since time.Time
}

// A reading is what the store's clock said, and when that was by this process's.
type reading struct{ store, here time.Time }

// off returns by how much a later reading differs from what r predicts.
func (r reading) off(later reading) time.Duration {
	return later.store.Sub(r.store) - later.here.Sub(r.here)
}

// trusts takes in a reading and reports whether it may be acted on. After a leap it may once the clock has said the same for
// 10 s, or is back.
func (c *storeClock) trusts(log *slog.Logger, store, here time.Time) bool {
	now := reading{store, here}
	off := c.base.off(now)
	switch {
	case c.base.here.IsZero():
		c.since = here
	case off.Abs() <= maxStep:
		if !c.leap.here.IsZero() {
			log.Info("the store's clock is right again; jobs are fired")
		}
	case c.leap.here.IsZero() || c.leap.off(now).Abs() > maxStep:
		log.Warn("the store's clock has leapt; no job is fired until it is back, or has gone on from there for a while",
			"by", off.Round(time.Second), "time", store.UTC(), "for", steadyAfter)
		c.leap = now
		return false
	case here.Sub(c.leap.here) < steadyAfter:
		return false
	default:
		log.Warn("the store's clock was set; jobs are fired by it", "by", off.Round(time.Second), "time", store.UTC())
		c.since = c.leap.here
	}
	c.base, c.leap = now, reading{}
	return true
}

// steady reports whether the clock has been without a leap for long enough to correct others by it.
func (c *storeClock) steady(here time.Time) bool {
	return !c.base.here.IsZero() && here.Sub(c.since) >= steadyAfter
}

// ahead reports whether a job's instants are so far ahead that the clock was wrong when they were written: the job would be
// silent until then. After less than that the job waits for the clock to catch up, so that nothing is fired twice.
func (j *jobDoc) ahead(now time.Time) bool {
	return max(j.Created, j.Done, j.Decided, j.Held) > now.Add(maxAhead).Unix()
}

// rewind has a job continue from now on.
func (j *jobDoc) rewind(now time.Time) {
	for _, at := range []*int64{&j.Created, &j.Done, &j.Decided, &j.Held} {
		*at = min(*at, now.Unix())
	}
	j.table = j.table.From(time.Unix(j.Created, 0))
	j.due = time.Time{}
}

// clamp brings all instants into the range that schedules are made for, whatever was stored.
func (j *jobDoc) clamp() {
	instants := []*int64{&j.Created, &j.Done, &j.Fired, &j.Decided, &j.Held}
	for _, list := range [][]firing{j.Pending, j.Dropped} {
		for i := range list {
			instants = append(instants, &list[i].Due)
		}
	}
	for _, at := range instants {
		if in := min(max(*at, 0), latestSecond); in != *at {
			*at, j.clamped = in, true
		}
	}
}

// repair writes a job whose instants can't be, or are far ahead, as it continues from now on.
func (s *scheduler) repair(ctx context.Context, j *jobDoc, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, retry.Timeout)
	defer cancel()
	fixed := *j
	fixed.clamped = false
	fixed.rewind(now)
	if err := s.e.writeJob(ctx, &fixed); err != nil {
		return err
	}
	s.e.log.Warn("the times of a job were wrong, since a clock was; it continues from now on", "job", j.id,
		"decided until", time.Unix(j.Done, 0).UTC(), "now", now.UTC())
	fixed.read = time.Now()
	*j = fixed
	s.wrote[j.id] = j.revision
	return nil
}
