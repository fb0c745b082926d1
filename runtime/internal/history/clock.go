package history

import "time"

// A clock estimates the store's time from the times in the store's replies, so that counting needs no request.
type clock struct {
	time time.Time // the store's, as last seen
	at   time.Time // when it was seen; only the monotonic reading is used
	// doubted is set after a sign that the store's clock was set back, which may have had another reason.
	doubted bool
}

const (
	clockAge  = 10 * time.Minute // after this, any time that is seen replaces the estimate
	clockBack = time.Minute      // by how much the estimate must exceed a time that is seen, for the clock to be set back
)

// see adopts a time that the store has just taken. Replies may be late, so a time a bit before the estimate tells
// nothing.
func (c *clock) see(t, at time.Time) {
	if t.IsZero() {
		return
	}
	ahead := c.now(at).Sub(t)
	if c.stale(at) || ahead < 0 || ahead > clockBack {
		c.time, c.at, c.doubted = t.Round(0), at, false
	}
}

// now returns the estimate at a moment of this process. If no time was seen it is that of the machine's clock.
func (c *clock) now(at time.Time) time.Time {
	if c.time.IsZero() {
		return at
	}
	return c.time.Add(at.Sub(c.at))
}

// stale reports whether the estimate may be far off.
func (c *clock) stale(at time.Time) bool {
	return c.time.IsZero() || c.doubted || at.Sub(c.at) > clockAge
}

// floor returns a time that the store's clock has certainly passed, or zero if none is known. It allows for clocks that
// run at different rates.
func (c *clock) floor(at time.Time) time.Time {
	if c.time.IsZero() {
		return time.Time{}
	}
	elapsed := at.Sub(c.at)
	return c.time.Add(elapsed - elapsed/1000)
}
