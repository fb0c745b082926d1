// Package cron parses cron expressions and computes when they are due. The generator checks directives with it and
// the runtime fires jobs with it, so both agree. Fields have the grammar and the value sets of [robfig/cron]; its
// scheduler isn't used. This package adds the position of a mistake, time zones with their data, and rules for clock
// changes.
//
//	s, err := cron.Parse("0 30 9 * * mon-fri", zone)
//	due := s.Next(time.Now())
//
// # Expressions
//
// Five fields are minute, hour, day of month, month and day of week; six have seconds first. A field is a
// comma-separated list of values, ranges (a-b) and *, each with an optional step (/n). Months and weekdays also have
// three-letter English names. 0 and 7 both mean Sunday, n/s means n to the last value in steps of s, and ? means *.
// The descriptors are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, and @every with a duration.
// @every counts from an instant that [Schedule.From] sets.
//
// Some rules are stricter than in robfig/cron: numbers have no sign, * can't begin a range, lists have no empty
// values, a step is at most the field's largest value, and @every takes whole seconds. Others are wider: 7 means
// Sunday, a range may end on Sunday (fri-sun), and n/s of the day of week goes up to Sunday. A field that begins with
// *, even with a step, doesn't restrict the day for the rule below.
//
// As in cron, if day of month or day of week begins with *, a day must match both. Otherwise it must match either: "0
// 0 1,15 * mon" is the first, the fifteenth and every Monday.
//
// # Clock changes
//
// If the hour field is fixed (it doesn't begin with * and doesn't list all hours), the schedule follows the wall
// clock. A skipped time is due at the first instant after the gap, several skipped times only once, and a repeated
// time is due the first time. If the hour isn't fixed, the schedule follows elapsed time: skipped times aren't due,
// and repeated times are due twice. An hourly job therefore stays hourly.
//
// [robfig/cron]: https://pkg.go.dev/github.com/robfig/cron/v3
package cron

import (
	"fmt"
	"math/bits"
	"strings"
	"time"
	_ "time/tzdata" // for machines without zone files

	robfig "github.com/robfig/cron/v3"
)

// An Error describes a mistake in an expression and its position.
type Error struct {
	Problem string // such as `minute 60 out of range [0, 59]`
	Offset  int    // where the mistake begins, in bytes
	Length  int    // in bytes; 0 marks a position between characters
}

func (e *Error) Error() string { return e.Problem }

// A Schedule is a cron expression in a time zone. It is immutable; the zero Schedule is never due.
type Schedule struct {
	zone                                   *time.Location
	second, minute, hour, day, month, week uint64 // bits by value
	anyDay, anyWeek                        bool   // the field begins with *
	fixed                                  bool   // follows the wall clock

	every time.Duration // if not zero, the fields above are unused
	from  time.Time
}

// Zone returns the time zone with an IANA name; "" is UTC. It refuses "Local", which differs from machine to machine.
func Zone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("unknown time zone %q, want an IANA name such as Europe/Berlin", name)
	}
	return zone, nil
}

// MinEvery is the shortest @every; all have whole seconds.
const MinEvery = time.Second

// horizon is how far Next looks: February 29 falls on a given weekday within 40 years.
const horizon = 41 * 366 * 24 * time.Hour

// Next returns the first due time after t, in whole seconds and in the schedule's zone, or the zero time if there is
// none.
func (s Schedule) Next(t time.Time) time.Time {
	switch {
	case s.every > 0:
		if t.Before(s.from) {
			return s.from.Add(s.every)
		}
		// Whole seconds, because two instants may be further apart than a Duration can hold.
		from, every := s.from.Unix(), int64(s.every/time.Second)
		return time.Unix(from+((t.Unix()-from)/every+1)*every, 0).UTC()
	case s.zone == nil:
		return time.Time{}
	}
	t = t.In(s.zone).Truncate(time.Second)
	end := t.Add(horizon)
	for at := t.Unix() + 1; at < end.Unix(); {
		here := stretchAt(time.Unix(at, 0).In(s.zone))
		if s.fixed && at == here.begin && here.skipped > 0 {
			if from := here.begin + here.offset; s.search(from-here.skipped, from) >= 0 {
				return time.Unix(here.begin, 0).In(s.zone)
			}
		}
		from := at + here.offset
		if s.fixed {
			from = max(from, here.begin+here.offset+here.repeated)
		}
		if c := s.search(from, min(here.end, end.Unix())+here.offset); c >= 0 {
			return time.Unix(c-here.offset, 0).In(s.zone)
		}
		at = here.end
	}
	return time.Time{}
}

// From returns s with @every counted from t. It doesn't change schedules without @every.
func (s Schedule) From(t time.Time) Schedule {
	s.from = t.Truncate(time.Second).UTC()
	return s
}

// A stretch is a period with a constant offset to UTC, in seconds since 1970.
type stretch struct {
	begin, end        int64 // end is exclusive
	offset            int64
	skipped, repeated int64 // seconds of wall-clock time, at begin
}

const farAway = 1 << 40

func stretchAt(t time.Time) stretch {
	_, offset := t.Zone()
	begin, end := t.ZoneBounds()
	s := stretch{begin: -farAway, end: farAway, offset: int64(offset)}
	if !end.IsZero() {
		s.end = end.Unix()
	}
	if !begin.IsZero() {
		s.begin = begin.Unix()
		_, before := begin.Add(-time.Second).Zone()
		s.skipped, s.repeated = max(s.offset-int64(before), 0), max(int64(before)-s.offset, 0)
	}
	return s
}

// search returns the first matching wall-clock reading in [from, to), in seconds as if the clock showed UTC, or -1 if
// there is none. Readings before 1970 never match.
func (s Schedule) search(from, to int64) int64 {
	for c := max(from, 0); c < to; {
		t := time.Unix(c, 0).UTC()
		year, month, day := t.Date()
		hour, minute, second := t.Clock()
		midnight := func(month time.Month, day int) int64 { return time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() }
		switch {
		case !has(s.month, int(month)):
			c = midnight(month+1, 1)
		case !s.suits(day, t.Weekday()):
			c = midnight(month, day+1)
		case !has(s.hour, hour):
			c = c - c%3600 + 3600
		case !has(s.minute, minute):
			c = c - c%60 + 60
		case !has(s.second, second):
			if next := s.second >> second; next == 0 {
				c = c - c%60 + 60
			} else {
				c += int64(bits.TrailingZeros64(next))
			}
		default:
			return c
		}
	}
	return -1
}

// suits reports whether the schedule includes the day.
func (s Schedule) suits(day int, week time.Weekday) bool {
	d, w := has(s.day, day), has(s.week, int(week))
	if s.anyDay || s.anyWeek {
		return d && w
	}
	return d || w
}

func has(set uint64, value int) bool { return set>>value&1 == 1 }

// Parse parses an expression in a zone; nil is UTC. It returns an [*Error] for a mistake, including an expression
// that is never due, such as February 30.
func Parse(expr string, zone *time.Location) (Schedule, error) {
	if zone == nil {
		zone = time.UTC
	}
	s := Schedule{zone: zone}
	words := split(expr)
	if len(words) == 0 {
		return s, &Error{Problem: "empty expression, want five fields, or six with seconds first"}
	}
	first := words[0]
	switch {
	case strings.HasPrefix(first.text, "TZ=") || strings.HasPrefix(first.text, "CRON_TZ="):
		return s, first.wrong("the time zone is a separate argument, not part of the expression")
	case first.text == "@every":
		return s.parseEvery(words)
	case strings.HasPrefix(first.text, "@"):
		t, err := descriptors.Parse(first.text)
		if err != nil {
			return s, first.wrong(
				"unknown descriptor %s, want @every with a duration, @yearly, @monthly, @weekly, @daily or @hourly", first.text)
		}
		if len(words) > 1 {
			return s, words[1].wrong("unexpected text after %s", first.text)
		}
		s.take(t.(*robfig.SpecSchedule))
		return s, nil
	}
	if err := s.parseFields(words); err != nil {
		return s, err
	}
	if s.Next(time.Unix(0, 0)).IsZero() {
		return s, &Error{Problem: "never due", Length: len(expr)}
	}
	return s, nil
}

// descriptors parses @yearly, @daily and the other descriptors without arguments.
var descriptors = robfig.NewParser(robfig.Descriptor)

// take copies the value sets of t.
func (s *Schedule) take(t *robfig.SpecSchedule) {
	s.second, s.minute, s.hour = t.Second&^star, t.Minute&^star, t.Hour&^star
	s.day, s.month, s.week = t.Dom&^star, t.Month&^star, t.Dow&^star
	s.anyDay, s.anyWeek = t.Dom&star != 0, t.Dow&star != 0
	s.fixed = s.hour != allHours
}

func (s Schedule) parseEvery(words []word) (Schedule, error) {
	if len(words) == 1 {
		return s, words[0].wrong("@every needs a duration, such as @every 90s")
	}
	if len(words) > 2 {
		return s, words[2].wrong("unexpected text after the duration of @every")
	}
	d, err := time.ParseDuration(words[1].text)
	switch {
	case err != nil:
		return s, words[1].wrong("%s is not a duration, such as 90s or 1h30m", words[1].text)
	case d < MinEvery:
		return s, words[1].wrong("%s is too short, want at least 1s", words[1].text)
	case d%time.Second != 0:
		return s, words[1].wrong("%s is not a whole number of seconds", words[1].text)
	}
	s.every, s.from = robfig.Every(d).Delay, time.Unix(0, 0).UTC()
	return s, nil
}

// IsEvery reports whether s is an @every schedule.
func (s Schedule) IsEvery() bool { return s.every > 0 }
