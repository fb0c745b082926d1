package jobs

import (
	"log/slog"
	"time"
)

const (
	maxStep     = time.Minute      // maximum step of the store's clock against this process's, between two readings
	steadyAfter = 10 * time.Second // how long the store's clock must be steady after a jump
)

// A storeClock decides whether to use a reading of the store's clock, by comparing it with this process's monotonic
// clock. A jump is more often a brief error than a correction. Only the scheduler's loop uses it.
type storeClock struct {
	base  reading   // the last accepted reading
	leap  reading   // the first reading after a jump; zero if there was none
	since time.Time // since when base is right, by this process's clock
}

// A reading is a time of the store's clock and the same instant on this process's clock.
type reading struct{ store, here time.Time }

// off returns the difference between a later reading and the one that r predicts.
func (r reading) off(later reading) time.Duration {
	return later.store.Sub(r.store) - later.here.Sub(r.here)
}

// trusts reports whether to use a reading. After a jump it waits until the clock is back or has been steady for 10 s.
func (c *storeClock) trusts(log *slog.Logger, store, here time.Time) bool {
	now := reading{store, here}
	off := c.base.off(now)
	switch {
	case c.base.here.IsZero():
		c.since = here
	case off.Abs() <= maxStep:
		if !c.leap.here.IsZero() {
			log.Info("store clock is right again, firing jobs")
		}
	case c.leap.here.IsZero() || c.leap.off(now).Abs() > maxStep:
		log.Warn("store clock jumped, not firing jobs until it is back or has been steady for a while",
			"by", off.Round(time.Second), "time", store.UTC(), "for", steadyAfter)
		c.leap = now
		return false
	case here.Sub(c.leap.here) < steadyAfter:
		return false
	default:
		log.Warn("store clock was set, firing jobs by it", "by", off.Round(time.Second), "time", store.UTC())
		c.since = c.leap.here
	}
	c.base, c.leap = now, reading{}
	return true
}

// at returns the store's time at a later instant of this process's clock.
func (c *storeClock) at(here time.Time) time.Time { return c.base.store.Add(here.Sub(c.base.here)) }

// steady reports whether the clock has been steady for long enough to correct instants of jobs by it.
func (c *storeClock) steady(here time.Time) bool {
	return !c.base.here.IsZero() && here.Sub(c.since) >= steadyAfter
}
