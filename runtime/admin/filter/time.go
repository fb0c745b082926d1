package filter

import (
	"strconv"
	"strings"
	"time"
)

// The times that stores keep: see backend.Task.
var (
	earliest = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2116, 1, 1, 0, 0, 0, 0, time.UTC)
)

// layouts are the ways in which a time is written. Seconds may have a fraction. The second one is that of the command
// af.
var layouts = []string{
	time.RFC3339, "2006-01-02 15:04:05 -07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime,
	"2006-01-02 15:04", time.DateOnly,
}

// parseTime returns a time, in UTC, that is given as a duration before now, or as a date and a time of day.
func parseTime(text string, now time.Time) (time.Time, error) {
	at, ok := time.Time{}, false
	if age, isAge := parseAge(text); isAge {
		at, ok = now.Add(-age).Round(0), true // without the monotonic clock's reading
	}
	for i := 0; i < len(layouts) && !ok; i++ {
		t, err := time.ParseInLocation(layouts[i], text, now.Location())
		at, ok = t, err == nil
	}
	switch {
	case !ok:
		return time.Time{}, problem("want a duration such as 30m, 1h or 2d, a date such as 2026-11-30, or a time such as " +
			"2026-11-30T02:15:00Z")
	case at.Before(earliest) || !at.Before(latest):
		return time.Time{}, problem("the time is not in the years 1970 to 2115")
	}
	return at.UTC(), nil
}

// units of durations. Years and months have no fixed length.
var units = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
	"d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

// longest is a duration beyond all others: its end is out of range.
const longest = 200 * 365 * 24 * time.Hour

// parseAge returns a duration such as 1h30m or 2d and reports whether text is one.
func parseAge(text string) (age time.Duration, ok bool) {
	for text != "" {
		n := len(text) - len(strings.TrimLeft(text, "0123456789."))
		u := n + len(text[n:]) - len(strings.TrimLeft(text[n:], "abcdefghijklmnopqrstuvwxyz"))
		number, err := strconv.ParseFloat(text[:n], 64)
		unit, known := units[text[n:u]]
		if err != nil || !known {
			return 0, false
		}
		if number*float64(unit) > float64(longest-age) {
			return longest, true
		}
		age += time.Duration(number * float64(unit))
		text = text[u:]
		ok = true
	}
	return age, ok
}
