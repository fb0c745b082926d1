// Package instant is how stores keep times: as nanoseconds since 1970, 0 for none, so that a database compares them as
// numbers. It is the one place where times and durations beyond what a store can keep are brought into its range.
package instant

import "time"

// The first and the last instant, in the years 1823 and 2116. The difference of two instants doesn't overflow.
const (
	First = -1 << 62
	Last  = 1<<62 - 1
)

// Of returns the instant of a time. The zero time has none, 0; 1970 itself counts as the nanosecond after it. What is before
// [First] or after [Last] counts as these.
func Of(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	const second = int64(time.Second)
	switch s := t.Unix(); {
	case s < First/second-1: // the division rounds up
		return First
	case s > Last/second:
		return Last
	}
	if i := min(max(t.UnixNano(), First), Last); i != 0 {
		return i
	}
	return 1
}

// Time returns the time of an instant, in UTC; the zero time for 0.
func Time(i int64) time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.Unix(0, i).UTC()
}

// Add returns the instant d after i, between [First] and [Last].
func Add(i int64, d time.Duration) int64 {
	i = min(max(i, First), Last)
	if d > 0 {
		return i + min(int64(d), Last-i)
	}
	return i + max(int64(d), First-i)
}
