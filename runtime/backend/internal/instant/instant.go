// Package instant converts times to the form in which stores keep them: nanoseconds since 1970, with 0 for the zero
// time, so that databases compare them as numbers. Times and durations out of range are clamped here and nowhere else.
package instant

import "time"

// First and Last are the range of instants, in the years 1823 and 2116. The difference of two instants never overflows.
const (
	First = -1 << 62
	Last  = 1<<62 - 1
)

// Of returns the instant of t, clamped to [First, Last]. It returns 0 for the zero time, and 1 for 1970 itself.
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

// Time returns the time of instant i in UTC, or the zero time if i is 0.
func Time(i int64) time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.Unix(0, i).UTC()
}

// Add returns the instant d after i, clamped to [First, Last].
func Add(i int64, d time.Duration) int64 {
	i = min(max(i, First), Last)
	if d > 0 {
		return i + min(int64(d), Last-i)
	}
	return i + max(int64(d), First-i)
}
