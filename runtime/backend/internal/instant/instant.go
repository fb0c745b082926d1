// Package instant is how stores keep times: as nanoseconds since 1970, 0 for none, so that a database compares them as
// numbers.
package instant

import "time"

// Of returns the instant of a time. The zero time has none, 0. What is before 1823 or after 2116 counts as these years' ends.
func Of(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	const first, last = -1 << 62, 1<<62 - 1
	if s := t.Unix(); s < first/int64(time.Second) || s > last/int64(time.Second) {
		if s < 0 {
			return first
		}
		return last
	}
	return t.UnixNano()
}

// Time returns the time of an instant, in UTC; the zero time for 0.
func Time(i int64) time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.Unix(0, i).UTC()
}
