// Package timefmt parses and formats times by strftime directives and IANA zones.
//
//	t, err := timefmt.Parse("2026-11-24 10:30:00", "%Y-%m-%d %H:%M:%S", "Europe/Berlin")
//	s, err := timefmt.Format(t, "%d.%m.%Y %H:%M", "Asia/Shanghai")
//	s, err := timefmt.Convert("2026-11-24 10:30:00", "", "Europe/Berlin", "", "Asia/Shanghai")
//	sec, err := timefmt.ToUnix("2026-11-24 10:30:00", "", "Europe/Berlin")
//
// An empty format is [DefaultFormat], an empty zone UTC; "Local" is the machine's. Zones come from the machine's database:
// a program for machines without one, such as many Windows, imports time/tzdata. A [Layout] is format and zone looked up
// once, for those that use them often.
//
// # Directives
//
// Both ways: %Y %y %m %d %e %j, %H %k %I %l %M %S, %p, %f (microseconds, six digits), %L (milliseconds, three), %s (seconds
// since 1970), %B %b %h %A %a (English), %z (+0100), %Z (CET), and what is made of them: %F %T %D %R %r %X %x %c %v; %n %t %%.
// Only to format: %C %G %g %U %u %V %W %w, and %-d and the like, which leave out padding.
//
// # Parsing
//
// Parsing is strict: it reads what formatting would have written, in that width and case, and nothing else. Parts that a
// format lacks are those of 1970-01-01 00:00:00. %y is 1969 to 2068. A weekday, or any other part that contradicts the
// rest, is an error, as is a date that doesn't exist.
//
// Without %z, %Z or %s a time is the zone's local one. One that the zone's clocks show twice, when they are set back, is
// the first; one that they skip is taken by the offset before, so that it comes out as much later: 02:30 becomes 03:30. That
// is how RFC 5545 has it. %Z picks one of the two, and is an error where the zone isn't called so then. With %z, the offset
// says which instant is meant, and with %s, the number; the result is in the zone.
package timefmt

import (
	"strings"
	"time"

	"github.com/lestrrat-go/strftime"

	"github.com/afgen/afgen/runtime/backend"
)

// DefaultFormat is what an empty format means.
const DefaultFormat = "%Y-%m-%d %H:%M:%S"

// A Layout is a format and a zone. It is safe for concurrent use.
type Layout struct {
	format string
	zone   *time.Location
	write  *strftime.Strftime
	read   []part
	// unreadable is why it can't parse, nil where it can.
	unreadable error
}

// New looks a format and a zone up: ErrInvalidArgument where there is no such directive or zone.
func New(format, zone string) (*Layout, error) {
	if format == "" {
		format = DefaultFormat
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, backend.Errorf(backend.ErrInvalidArgument, "there is no time zone %.80q: %w", zone, err)
	}
	if err := check(format); err != nil {
		return nil, err
	}
	write, err := strftime.New(format, strftime.WithMicroseconds('f'), strftime.WithMilliseconds('L'), strftime.WithUnixSeconds('s'))
	if err != nil {
		return nil, backend.Errorf(backend.ErrInvalidArgument, "the time format %.80q: %w", format, err)
	}
	l := &Layout{format: format, zone: loc, write: write}
	l.read, l.unreadable = parts(format)
	return l, nil
}

// check names a directive that there isn't.
func check(format string) error {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		i++
		if i < len(format) && (format[i] == '-' || format[i] == '#') {
			i++
		}
		if i == len(format) {
			return backend.Errorf(backend.ErrInvalidArgument, "the time format %.80q ends within a directive", format)
		}
		if !strings.ContainsRune(both+onlyWritten, rune(format[i])) {
			return backend.Errorf(backend.ErrInvalidArgument, "the time format %.80q has the unknown directive %%%c", format, format[i])
		}
	}
	return nil
}

// Format writes t in the zone.
func (l *Layout) Format(t time.Time) string { return l.write.FormatString(t.In(l.zone)) }

// Now writes the current time.
func (l *Layout) Now() string { return l.Format(time.Now()) }

// FromUnix writes the time that is a number of seconds after 1970 began in UTC.
func (l *Layout) FromUnix(seconds int64) string { return l.Format(time.Unix(seconds, 0)) }

// ToUnix reads a time, as seconds since 1970 began in UTC; fractions are cut off.
func (l *Layout) ToUnix(value string) (int64, error) {
	t, err := l.Parse(value)
	return t.Unix(), err
}

// Parse reads a time of the zone.
func Parse(value, format, zone string) (time.Time, error) {
	l, err := New(format, zone)
	if err != nil {
		return time.Time{}, err
	}
	return l.Parse(value)
}

// Format writes a time in a zone.
func Format(t time.Time, format, zone string) (string, error) {
	l, err := New(format, zone)
	if err != nil {
		return "", err
	}
	return l.Format(t), nil
}

// Now writes the current time in a zone.
func Now(format, zone string) (string, error) { return Format(time.Now(), format, zone) }

// Convert reads a time of one zone and writes it in another.
func Convert(value, format, zone, toFormat, toZone string) (string, error) {
	t, err := Parse(value, format, zone)
	if err != nil {
		return "", err
	}
	return Format(t, toFormat, toZone)
}

// FromUnix writes the time that is a number of seconds after 1970 began in UTC, in a zone.
func FromUnix(seconds int64, format, zone string) (string, error) {
	return Format(time.Unix(seconds, 0), format, zone)
}

// ToUnix reads a time of a zone, as seconds since 1970 began in UTC.
func ToUnix(value, format, zone string) (int64, error) {
	t, err := Parse(value, format, zone)
	if err != nil {
		return 0, err
	}
	return t.Unix(), nil
}
