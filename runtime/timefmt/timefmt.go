// Package timefmt parses and formats times with strftime directives and IANA zones.
//
//	t, err := timefmt.Parse("2026-11-24 10:30:00", "%Y-%m-%d %H:%M:%S", "Europe/Berlin")
//	s, err := timefmt.Format(t, "%d.%m.%Y %H:%M", "Asia/Shanghai")
//	s, err := timefmt.Convert("2026-11-24 10:30:00", "", "Europe/Berlin", "", "Asia/Shanghai")
//	sec, err := timefmt.ToUnix("2026-11-24 10:30:00", "", "Europe/Berlin")
//
// An empty format is [DefaultFormat], an empty zone is UTC, and "Local" is the machine's zone. Zones come from the
// machine's database. Programs for machines without one, such as many Windows machines, import time/tzdata. A
// [Layout] is a format and a zone looked up once, for repeated use.
//
// # Directives
//
// For parsing and formatting: %Y %y %m %d %e %j, %H %k %I %l %M %S, %p, %f (microseconds, six digits), %L
// (milliseconds, three), %s (seconds since 1970), %B %b %h %A %a (English), %z (+0100), %Z (CET), the combinations %F
// %T %D %R %r %X %x %c %v, and %n %t %%. For formatting only: %C %G %g %U %u %V %W %w, and directives without
// padding, such as %-d.
//
// # Parsing
//
// Parsing is strict: it accepts only what formatting would write, in that width and case. Parts that the format lacks
// default to 1970-01-01 00:00:00. %y is 1969 to 2068. A part that contradicts the others, such as a wrong weekday, is
// an error, as is a date that doesn't exist.
//
// Without %z, %Z or %s, a time is local to the zone. If clocks show it twice, Parse returns the first. If clocks skip
// it, Parse uses the offset before the gap, so 02:30 becomes 03:30 (as in RFC 5545). %Z selects one of two such
// times, and is an error if the zone doesn't use that abbreviation at the time. With %z or %s, the offset or the
// number determines the instant. The result is in the zone.
package timefmt

import (
	"strings"
	"time"

	"github.com/lestrrat-go/strftime"

	"github.com/afgen/afgen/runtime/backend"
)

// DefaultFormat replaces an empty format.
const DefaultFormat = "%Y-%m-%d %H:%M:%S"

// A Layout is a format and a zone. It is safe for concurrent use.
type Layout struct {
	format string
	zone   *time.Location
	write  *strftime.Strftime
	read   []part
	// unreadable is the reason why it can't parse, or nil.
	unreadable error
}

// New returns a Layout. An unknown directive or zone is ErrInvalidArgument.
func New(format, zone string) (*Layout, error) {
	if format == "" {
		format = DefaultFormat
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, backend.Errorf(backend.ErrInvalidArgument, "unknown time zone %.80q: %w", zone, err)
	}
	if err := check(format); err != nil {
		return nil, err
	}
	write, err := strftime.New(format, strftime.WithMicroseconds('f'), strftime.WithMilliseconds('L'),
		strftime.WithUnixSeconds('s'))
	if err != nil {
		return nil, backend.Errorf(backend.ErrInvalidArgument, "time format %.80q: %w", format, err)
	}
	l := &Layout{format: format, zone: loc, write: write}
	l.read, l.unreadable = parts(format)
	return l, nil
}

// check returns an error for an unknown directive.
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
			return backend.Errorf(backend.ErrInvalidArgument, "time format %.80q ends within a directive", format)
		}
		if !strings.ContainsRune(both+onlyWritten, rune(format[i])) {
			return backend.Errorf(backend.ErrInvalidArgument, "time format %.80q: unknown directive %%%c", format, format[i])
		}
	}
	return nil
}

// Format formats t in the layout's zone.
func (l *Layout) Format(t time.Time) string { return l.write.FormatString(t.In(l.zone)) }

// Now formats the current time.
func (l *Layout) Now() string { return l.Format(time.Now()) }

// FromUnix formats a time given in seconds since 1970-01-01 UTC.
func (l *Layout) FromUnix(seconds int64) string { return l.Format(time.Unix(seconds, 0)) }

// ToUnix parses a time and returns it in seconds since 1970-01-01 UTC, rounded down.
func (l *Layout) ToUnix(value string) (int64, error) {
	t, err := l.Parse(value)
	return t.Unix(), err
}

// Parse parses a time in a zone. A value that doesn't match the format, or an unknown directive or zone, is
// ErrInvalidArgument.
func Parse(value, format, zone string) (time.Time, error) {
	l, err := New(format, zone)
	if err != nil {
		return time.Time{}, err
	}
	return l.Parse(value)
}

// Format formats t in a zone. An unknown directive or zone is ErrInvalidArgument.
func Format(t time.Time, format, zone string) (string, error) {
	l, err := New(format, zone)
	if err != nil {
		return "", err
	}
	return l.Format(t), nil
}

// Now formats the current time in a zone.
func Now(format, zone string) (string, error) { return Format(time.Now(), format, zone) }

// Convert parses a time in one zone and formats it in another. Errors are those of [Parse] and [Format].
func Convert(value, format, zone, toFormat, toZone string) (string, error) {
	t, err := Parse(value, format, zone)
	if err != nil {
		return "", err
	}
	return Format(t, toFormat, toZone)
}

// FromUnix formats a time given in seconds since 1970-01-01 UTC, in a zone.
func FromUnix(seconds int64, format, zone string) (string, error) {
	return Format(time.Unix(seconds, 0), format, zone)
}

// ToUnix parses a time in a zone and returns it in seconds since 1970-01-01 UTC.
func ToUnix(value, format, zone string) (int64, error) {
	t, err := Parse(value, format, zone)
	if err != nil {
		return 0, err
	}
	return t.Unix(), nil
}
