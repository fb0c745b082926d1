package cron_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/cron"
)

// zones change their clocks by half an hour, an hour and two hours, at midnight and at night, in both hemispheres,
// around Ramadan, or never.
var zones = []string{
	"Europe/Berlin", "Europe/London", "America/New_York", "America/St_Johns", "America/Santiago", "America/Havana",
	"Africa/Cairo", "Africa/Casablanca", "Asia/Beirut", "Australia/Lord_Howe", "Australia/Sydney", "Antarctica/Troll",
	"America/Nuuk", "Pacific/Chatham", "Asia/Kolkata",
}

var expressions = []string{
	"*/7 * * * *", "30 * * * *", "0 */2 * * *", "15,45 */3 * * *", "0 0-23 * * *", // not fixed
	"30 2 * * *", "0 0 * * *", "*/10 0-4 * * *", "5 1,2,3 * * *", "59 23 * * *", "45 1 * * sun", "10 2 28-31 3,10 *",
	"0 2 1,25 * sun", "0 2 */2 * sun", "* 2 * * *", "0 1/2 * * *",
}

// The test compares two years of clock changes, minute by minute, with the observed model.
func TestClockChangesOfTwoYears(t *testing.T) {
	changes := 0
	for _, name := range zones {
		zone, err := cron.Zone(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range changesOf(zone, 2026, 2028) {
			changes++
			from, to := at.Add(-26*time.Hour), at.Add(26*time.Hour)
			seen := looks(zone, from.Add(-3*time.Hour), to)
			for _, expr := range expressions {
				s := parse(t, expr, name)
				want := observed(modelOf(expr), seen)
				for len(want) > 0 && !want[0].After(from) {
					want = want[1:]
				}
				var got []time.Time
				for next := s.Next(from); next.Before(to); next = s.Next(next) {
					got = append(got, next)
				}
				if !slices.EqualFunc(got, want, time.Time.Equal) {
					t.Errorf("%s in %s around %v:\n got %v\nwant %v", expr, name, at.In(zone), clock(got), clock(want))
				}
				// Also from instants between due times.
				for i := at.Add(-3 * time.Hour); i.Before(at.Add(3 * time.Hour)); i = i.Add(11 * time.Minute) {
					k, _ := slices.BinarySearchFunc(want, i.Add(1), time.Time.Compare)
					if next := s.Next(i); k < len(want) && !next.Equal(want[k]) {
						t.Errorf("%s in %s after %v: %v, want %v", expr, name, i.In(zone), next, want[k].In(zone))
					}
				}
			}
		}
	}
	if changes < 50 {
		t.Errorf("only %d changes: are the zones' files old?", changes)
	}
}

func clock(list []time.Time) []string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = t.Format("01-02 15:04 -07")
	}
	return out
}

// changesOf returns the minutes in which a zone's offset changes.
func changesOf(zone *time.Location, from, to int) (changes []time.Time) {
	at := time.Date(from, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, before := at.In(zone).Zone(); at.Year() < to; at = at.Add(15 * time.Minute) {
		if _, now := at.In(zone).Zone(); now != before {
			changes, before = append(changes, at), now
		}
	}
	return changes
}

// A look is a reading of the wall clock: the instant, and the clock's time as if it were UTC.
type look struct{ at, wall time.Time }

func looks(zone *time.Location, from, to time.Time) (all []look) {
	for at := from; at.Before(to); at = at.Add(time.Minute) {
		t := at.In(zone)
		all = append(all, look{at, time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)})
	}
	return all
}

// observed is the model. It reads the clock each minute and matches it with the expression. It knows no offsets: it
// sees skipped and repeated times.
func observed(m model, all []look) (due []time.Time) {
	last := all[0].wall
	newest := last.Add(-time.Minute)
	for _, l := range all {
		hit := m.fits(l.wall)
		if m.fixed {
			hit = hit && l.wall.After(newest)
			for w := last.Add(time.Minute); w.Before(l.wall); w = w.Add(time.Minute) { // skipped times
				hit = hit || w.After(newest) && m.fits(w)
			}
		}
		if last = l.wall; last.After(newest) {
			newest = last
		}
		if hit {
			due = append(due, l.at)
		}
	}
	return due
}

type model struct {
	fixed, star                    bool
	minute, hour, day, month, week [60]bool
}

func modelOf(expr string) (m model) {
	f := strings.Fields(expr)
	m.fixed = f[1][0] != '*' && f[1] != "0-23"
	m.star = f[2][0] == '*' || f[4][0] == '*'
	for v := range 60 {
		m.minute[v], m.hour[v], m.day[v] = listed(f[0], v, 0, 59), listed(f[1], v, 0, 23), listed(f[2], v, 1, 31)
		m.month[v], m.week[v] = listed(f[3], v, 1, 12), listed(f[4], v, 0, 6) || f[4] == "sun" && v == 0
	}
	return m
}

func (m *model) fits(wall time.Time) bool {
	day, week := m.day[wall.Day()], m.week[wall.Weekday()]
	return m.minute[wall.Minute()] && m.hour[wall.Hour()] && m.month[wall.Month()] &&
		(m.star && day && week || !m.star && (day || week))
}

// listed reports whether a field includes a value, by counting up to it.
func listed(text string, value, first, last int) bool {
	for _, item := range strings.Split(text, ",") {
		var a, b, step int
		switch n, _ := fmt.Sscanf(item, "%d-%d/%d", &a, &b, &step); {
		case strings.HasPrefix(item, "*"):
			a, b, step = first, last, 1
			if _, after, ok := strings.Cut(item, "/"); ok {
				step, _ = strconv.Atoi(after)
			}
		case n == 2:
			step = 1
		case n == 1:
			if b, step = a, 1; strings.Contains(item, "/") {
				_, after, _ := strings.Cut(item, "/")
				b = last
				step, _ = strconv.Atoi(after)
			}
		case n == 0:
			continue
		}
		for v := a; v <= b; v += step {
			if v == value {
				return true
			}
		}
	}
	return false
}
