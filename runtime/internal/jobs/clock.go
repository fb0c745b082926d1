package jobs

import (
	"log/slog"
	"time"
)

const (
	maxStep     = time.Minute      // of the store's clock against this process's, from one reading to the next
	steadyAfter = 10 * time.Second // how long the store's clock must agree with itself after a leap
)

// A storeClock decides whether a reading of the store's clock may be used. It compares that clock with this process's
// monotonic one: a clock that leaps is more often wrong for a moment than it was wrong before. Only the scheduler's
// loop uses it.
type storeClock struct {
	base  reading   // the last one that was accepted
	leap  reading   // the first one after a leap; zero if there was none
	since time.Time // when base began to be right, by this process's clock
}

// A reading is a time of the store's clock and the same moment by this process's clock.
type reading struct{ store, here time.Time }

// off returns by how much a later reading differs from what r predicts.
func (r reading) off(later reading) time.Duration {
	return later.store.Sub(r.store) - later.here.Sub(r.here)
}

// trusts takes a reading and reports whether it may be used. After a leap that is when the clock is back, or has agreed
// with itself for 10 s.
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

// steady reports whether the clock has not leapt for so long that instants of jobs may be corrected by it.
func (c *storeClock) steady(here time.Time) bool {
	return !c.base.here.IsZero() && here.Sub(c.since) >= steadyAfter
}
