// Package cron reads cron expressions and computes when they are due. The generator checks directives by it and the runtime
// fires jobs by it, so that both mean the same. The grammar of a field and the set of its values are those of
// [robfig/cron], whose scheduler isn't used. This package adds where in an expression a mistake is, time zones and what
// happens when clocks are changed, and the time zones' data.
//
//	s, err := cron.Parse("0 30 9 * * mon-fri", zone)
//	due := s.Next(time.Now())
//
// # Expressions
//
// Five fields are minute, hour, day of month, month, day of week; six have seconds before them. A field is a list of
// values, ranges a-b and *, each with a step /n; months and weekdays have names, in English and of three letters; 0 and
// 7 are both Sunday; n/s stands for n to the last in steps of s; ? is *. @yearly, @annually, @monthly, @weekly, @daily,
// @midnight and @hourly are short for what they say. @every and a duration is that long after the one before, counted
// from an instant that [Schedule.From] sets.
//
// A few things are stricter than in robfig/cron: a number has no sign, * has no end, no value of a list is empty, a step is
// not greater than the field's largest value, and an @every has whole seconds. Three are wider: 7 is Sunday too, a range may
// end on Sunday (fri-sun), and n/s of the day of week goes up to Sunday. A field that begins with * has no restriction for
// the rule of days below, also with a step.
//
// As in cron, a day has to suit both of day of month and day of week where one of these begins with *, and either of
// them where none does: "0 0 1,15 * mon" is the first, the fifteenth and every Monday.
//
// # When clocks are changed
//
// Where the hour field is fixed, which is one that doesn't begin with * and has not all hours, a job has its times by
// the clock on the wall: a time that is skipped is due at the first instant after the gap (several of them once), and
// one that comes twice is due the first time. Where the hour is not fixed, time goes on as it does in truth: what the
// clock skips isn't due, and what it shows twice is due twice. So an hourly job stays hourly.
//
// [robfig/cron]: https://pkg.go.dev/github.com/robfig/cron/v3
package cron

import (
	"fmt"
	"math/bits"
	"strings"
	"time"
	_ "time/tzdata" // a machine without zone files has the zones all the same

	robfig "github.com/robfig/cron/v3"
)

// An Error says what is wrong with an expression, and where in it.
type Error struct {
	Problem string // such as `minute 60 is out of range: 0 to 59`
	Offset  int    // of what is wrong, in bytes
	Length  int    // of it; 0 is a place
}

func (e *Error) Error() string { return e.Problem }

// A Schedule is a cron expression in a time zone. It is immutable; the zero Schedule is never due.
type Schedule struct {
	zone                                   *time.Location
	second, minute, hour, day, month, week uint64 // bits by value
	anyDay, anyWeek                        bool   // begins with *
	fixed                                  bool   // by the clock on the wall

	every time.Duration // where it is not zero, the above is not used
	from  time.Time
}

// Zone returns the time zone of an IANA name; "" is UTC. "Local" is refused: it would be another one on each machine.
func Zone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("there is no time zone %q: it is an IANA name, such as Europe/Berlin", name)
	}
	return zone, nil
}

// MinEvery is the shortest @every; all have whole seconds.
const MinEvery = time.Second

// horizon is how far Next looks: a February 29 on a certain weekday comes in 40 years.
const horizon = 41 * 366 * 24 * time.Hour

// Next returns the first due time after t, in whole seconds and in the schedule's zone; the zero time where none comes.
func (s Schedule) Next(t time.Time) time.Time {
	switch {
	case s.every > 0:
		if t.Before(s.from) {
			return s.from.Add(s.every)
		}
		// In seconds: two instants may be further apart than a Duration can tell.
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

// From returns the schedule with its @every counted from an instant; others stay as they are.
func (s Schedule) From(t time.Time) Schedule {
	s.from = t.Truncate(time.Second).UTC()
	return s
}

// A stretch is a time in which a zone's offset to UTC stays the same, in seconds since 1970.
type stretch struct {
	begin, end        int64 // the end doesn't belong to it
	offset            int64
	skipped, repeated int64 // seconds of the clock on the wall, at its begin
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

// search returns the first reading of a clock, in seconds as if it showed UTC, that fits in [from, to); -1 where none
// does. Readings before 1970 are none.
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

// suits says whether the schedule has that day.
func (s Schedule) suits(day int, week time.Weekday) bool {
	d, w := has(s.day, day), has(s.week, int(week))
	if s.anyDay || s.anyWeek {
		return d && w
	}
	return d || w
}

func has(set uint64, value int) bool { return set>>value&1 == 1 }

// Parse reads an expression for a zone; nil is UTC. What is wrong with it is an *Error. One that is never due, such as
// one for February 30, is wrong, too.
func Parse(expr string, zone *time.Location) (Schedule, error) {
	if zone == nil {
		zone = time.UTC
	}
	s := Schedule{zone: zone}
	words := split(expr)
	if len(words) == 0 {
		return s, &Error{Problem: "there is nothing in it: it has five fields, or six with seconds first"}
	}
	first := words[0]
	switch {
	case strings.HasPrefix(first.text, "TZ=") || strings.HasPrefix(first.text, "CRON_TZ="):
		return s, first.wrong("the time zone stands beside the expression and not in it")
	case first.text == "@every":
		return s.parseEvery(words)
	case strings.HasPrefix(first.text, "@"):
		t, err := descriptors.Parse(first.text)
		if err != nil {
			return s, first.wrong("there is no %s: it is @every and a duration, @yearly, @monthly, @weekly, @daily or @hourly", first.text)
		}
		if len(words) > 1 {
			return s, words[1].wrong("nothing follows %s", first.text)
		}
		s.take(t.(*robfig.SpecSchedule))
		return s, nil
	}
	if err := s.parseFields(words); err != nil {
		return s, err
	}
	if s.Next(time.Unix(0, 0)).IsZero() {
		return s, &Error{Problem: "it is never due", Length: len(expr)}
	}
	return s, nil
}

// descriptors reads @yearly, @daily and the like.
var descriptors = robfig.NewParser(robfig.Descriptor)

// take sets the schedule's sets to those of a table.
func (s *Schedule) take(t *robfig.SpecSchedule) {
	s.second, s.minute, s.hour = t.Second&^star, t.Minute&^star, t.Hour&^star
	s.day, s.month, s.week = t.Dom&^star, t.Month&^star, t.Dow&^star
	s.anyDay, s.anyWeek = t.Dom&star != 0, t.Dow&star != 0
	s.fixed = s.hour != allHours
}

func (s Schedule) parseEvery(words []word) (Schedule, error) {
	if len(words) == 1 {
		return s, words[0].wrong("a duration belongs behind @every, such as @every 90s")
	}
	if len(words) > 2 {
		return s, words[2].wrong("nothing follows the duration of @every")
	}
	d, err := time.ParseDuration(words[1].text)
	switch {
	case err != nil:
		return s, words[1].wrong("%s is not a duration, such as 90s or 1h30m", words[1].text)
	case d < MinEvery:
		return s, words[1].wrong("%s is too short: at least 1s", words[1].text)
	case d%time.Second != 0:
		return s, words[1].wrong("%s is not in whole seconds", words[1].text)
	}
	s.every, s.from = robfig.Every(d).Delay, time.Unix(0, 0).UTC()
	return s, nil
}

// IsEvery says whether the schedule is counted from an instant.
func (s Schedule) IsEvery() bool { return s.every > 0 }
