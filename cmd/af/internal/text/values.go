package text

import (
	"fmt"
	"math"
	"strconv"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// Number returns a number with its digits in groups, such as 12,345.
func Number(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Count returns a count of tasks, such as 12 or ≥10,000.
func Count(c af.Count) string {
	if c.AtLeast {
		return "≥" + Number(int64(c.N))
	}
	return Number(int64(c.N))
}

// Duration returns a duration with two or three digits, such as 850ms, 1.2s, 3m20s, 5h03m or 12d.
func Duration(d time.Duration) string {
	if d < 0 {
		return "-" + Duration(-max(d, -math.MaxInt64)) // the smallest duration has no opposite
	}
	switch {
	case d == 0:
		return "0s"
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// Since returns how long ago a time was, such as 3m20s, "in 5s" for one in the future, or "-" for the zero time.
func Since(t, now time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "-"
	case d > -time.Second && d < 0: // clocks differ
		return "0s"
	case d < 0:
		return "in " + Duration(d)[1:]
	default:
		return Duration(d)
	}
}

// Time returns a time as a person in a time zone reads it, with its offset, or "-" for the zero time.
func Time(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("2006-01-02 15:04:05.000 -07:00")
}

// Bytes returns a number of bytes, such as 12.3 GiB.
func Bytes(n uint64) string {
	f := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if f < 1024 {
			if unit == "B" {
				return fmt.Sprintf("%d B", n)
			}
			return fmt.Sprintf("%.1f %s", f, unit)
		}
		f /= 1024
	}
	return fmt.Sprintf("%.1f TiB", f)
}

// StatusStyle returns the style of a status.
func StatusStyle(s af.Status) Style {
	switch s {
	case af.StatusSuccess:
		return Green
	case af.StatusFailed:
		return Red
	case af.StatusRetrying, af.StatusStopped:
		return Yellow
	case af.StatusRunning:
		return Blue
	}
	return Plain
}
