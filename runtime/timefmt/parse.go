package timefmt

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// The directives that parse.
const (
	both        = "YymdejHkIlMSpfLsBbhAazZFTDRrXxcvnt%"
	onlyWritten = "CGgUuVWw"
)

// made maps directives to the directives they combine.
var made = map[byte]string{
	'F': "%Y-%m-%d", 'T': "%H:%M:%S", 'X': "%H:%M:%S", 'D': "%m/%d/%y", 'x': "%m/%d/%y", 'R': "%H:%M", 'r': "%I:%M:%S %p",
	'c': "%a %b %e %H:%M:%S %Y", 'v': "%e-%b-%Y", 'h': "%b", 'n': "\n", 't': "\t",
}

// A part is a directive, or text if directive is 0.
type part struct {
	directive byte
	text      string
}

// parts splits a checked format. It returns an error if the format can't be used for parsing.
func parts(format string) (all []part, err error) {
	text := func(s string) {
		if n := len(all); n > 0 && all[n-1].directive == 0 {
			all[n-1].text += s
		} else if s != "" {
			all = append(all, part{text: s})
		}
	}
	var seen string
	for len(format) > 0 {
		before, rest, found := strings.Cut(format, "%")
		text(before)
		if !found {
			break
		}
		d := rest[0]
		format = rest[1:]
		switch {
		case d == '-' || d == '#' || strings.IndexByte(onlyWritten, d) >= 0:
			return nil, backend.Errorf(backend.ErrInvalidArgument, "%%%c can format but not parse", d)
		case d == '%':
			text("%")
		case made[d] != "":
			format = made[d] + format
		default:
			all = append(all, part{directive: d})
			seen += string(d)
		}
	}
	if strings.ContainsAny(seen, "Il") && !strings.Contains(seen, "p") {
		return nil, backend.NewError(backend.ErrInvalidArgument, "%I and %l need %p to parse")
	}
	return all, nil
}

// fields are the parsed values.
type fields struct {
	year, month, day, hour, minute, second, nano int
	yday                                         int // 0 if absent
	pm                                           int // hours to add to a 12-hour clock; -1 for a 24-hour clock
	offset                                       int
	unix                                         int64
	zone                                         string
	full, hasOffset, hasUnix                     bool
}

// Parse parses a time.
func (l *Layout) Parse(value string) (time.Time, error) {
	if l.unreadable != nil {
		return time.Time{}, backend.Errorf(backend.ErrInvalidArgument, "time format %.80q: %w", l.format, l.unreadable)
	}
	refuse := func(why string) (time.Time, error) {
		return time.Time{}, backend.Errorf(backend.ErrInvalidArgument, "time %.80q doesn't match format %.80q: %s",
			value, l.format, why)
	}
	f := fields{year: 1970, month: 1, day: 1, pm: -1}
	rest := value
	for _, p := range l.read {
		var ok bool
		if p.directive == 0 {
			rest, ok = strings.CutPrefix(rest, p.text)
		} else {
			rest, ok = f.take(p.directive, rest)
		}
		if !ok {
			if p.directive != 0 {
				p.text = "%" + string(p.directive)
			}
			return refuse(strconv.Quote(p.text) + " does not match " + strconv.Quote(cutTo(rest, 20)))
		}
	}
	if rest != "" {
		return refuse(strconv.Quote(cutTo(rest, 20)) + " is extra text")
	}
	t, written, why := f.time(l.zone)
	if why != "" {
		return refuse(why)
	}
	// A weekday or repeated hour that contradicts the rest would be written differently.
	if again := l.write.FormatString(written); again != value {
		return refuse("it must be " + strconv.Quote(again))
	}
	return t, nil
}

func cutTo(s string, n int) string { return s[:min(n, len(s))] }

var (
	months = names(12, func(i int) string { return time.Month(i + 1).String() })
	days   = names(7, func(i int) string { return time.Weekday(i).String() })
)

func names(n int, name func(int) string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = name(i)
	}
	return all
}

// take parses the value of one directive at the beginning of s.
func (f *fields) take(d byte, s string) (rest string, ok bool) {
	n := 0
	switch d {
	case 'Y':
		f.year, rest, ok = digits(s, 4, false)
		f.full = true
	case 'y':
		if n, rest, ok = digits(s, 2, false); f.full {
			break
		}
		if f.year = 1900 + n; n < 69 {
			f.year += 100
		}
	case 'm':
		f.month, rest, ok = digits(s, 2, false)
	case 'd', 'e':
		f.day, rest, ok = digits(s, 2, d == 'e')
	case 'j':
		f.yday, rest, ok = digits(s, 3, false)
		ok = ok && f.yday > 0
	case 'H', 'k':
		f.hour, rest, ok = digits(s, 2, d == 'k')
		ok = ok && f.hour < 24
	case 'I', 'l':
		f.hour, rest, ok = digits(s, 2, d == 'l')
		ok = ok && f.hour >= 1 && f.hour <= 12
		f.pm = max(f.pm, 0)
	case 'p':
		if rest, ok = strings.CutPrefix(s, "AM"); !ok {
			rest, ok = strings.CutPrefix(s, "PM")
			f.pm = 12
		} else {
			f.pm = 0
		}
	case 'M':
		f.minute, rest, ok = digits(s, 2, false)
		ok = ok && f.minute < 60
	case 'S':
		f.second, rest, ok = digits(s, 2, false)
		ok = ok && f.second < 60
	case 'f':
		n, rest, ok = digits(s, 6, false)
		f.nano = n * 1000
	case 'L':
		n, rest, ok = digits(s, 3, false)
		f.nano = n * 1_000_000
	case 'B':
		n, rest, ok = oneOf(s, months, 0)
		f.month = n + 1
	case 'b':
		n, rest, ok = oneOf(s, months, 3)
		f.month = n + 1
	case 'A':
		_, rest, ok = oneOf(s, days, 0)
	case 'a':
		_, rest, ok = oneOf(s, days, 3)
	case 's':
		end := len(s) - len(strings.TrimLeft(strings.TrimPrefix(s, "-"), "0123456789"))
		f.unix, ok = int64Of(s[:end])
		f.hasUnix, rest = true, s[end:]
	case 'z':
		return f.takeOffset(s)
	case 'Z':
		rest = strings.TrimLeft(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ+-0123456789")
		f.zone, ok = s[:len(s)-len(rest)], len(rest) < len(s)
	}
	return rest, ok
}

// takeOffset parses an offset such as +0100.
func (f *fields) takeOffset(s string) (rest string, ok bool) {
	if s == "" || s[0] != '+' && s[0] != '-' {
		return s, false
	}
	n, rest, ok := digits(s[1:], 4, false)
	if n%100 > 59 || n > 2400 {
		return s, false
	}
	f.hasOffset, f.offset = true, n/100*3600+n%100*60
	if s[0] == '-' {
		f.offset = -f.offset
	}
	return rest, ok
}

// digits parses a number of n digits. If blank is set, the first may be a blank.
func digits(s string, n int, blank bool) (v int, rest string, ok bool) {
	if len(s) < n {
		return 0, s, false
	}
	for i := range n {
		c := s[i]
		if c == ' ' && blank && i == 0 {
			c = '0'
		}
		if c < '0' || c > '9' {
			return 0, s, false
		}
		v = 10*v + int(c-'0')
	}
	return v, s[n:], true
}

func int64Of(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	// Years beyond these limits have more digits than the formats.
	return n, err == nil && n >= -62167219200 && n <= 253402300799
}

// oneOf parses one of names, or its first n letters.
func oneOf(s string, names []string, n int) (i int, rest string, ok bool) {
	for i, name := range names {
		if n > 0 {
			name = name[:n]
		}
		if rest, ok := strings.CutPrefix(s, name); ok {
			return i, rest, true
		}
	}
	return 0, s, false
}

// time returns the instant of the fields in a zone, and the time to format for comparison with the input. That is in
// the parsed offset if there is one, and unchanged if the zone's clocks skip it.
func (f *fields) time(zone *time.Location) (t, written time.Time, why string) {
	if f.hasUnix {
		t = time.Unix(f.unix, int64(f.nano)).In(zone)
		return t, t, ""
	}
	if f.pm >= 0 {
		f.hour = f.hour%12 + f.pm
	}
	if f.yday > 0 {
		f.month, f.day = 1, f.yday
	}
	wall := time.Date(f.year, time.Month(f.month), f.day, f.hour, f.minute, f.second, f.nano, time.UTC)
	if wall.Year() != f.year || f.yday == 0 && (int(wall.Month()) != f.month || wall.Day() != f.day) {
		return t, t, "no such date"
	}
	if f.hasOffset {
		t = wall.Add(-time.Duration(f.offset) * time.Second)
		return t.In(zone), t.In(time.FixedZone(f.zone, f.offset)), ""
	}
	all, skipped := instants(wall, zone)
	if f.zone != "" {
		all = slices.DeleteFunc(all, func(t time.Time) bool { name, _ := t.Zone(); return name != f.zone })
		if len(all) == 0 || skipped {
			return t, t, "zone " + zone.String() + " doesn't use " + strconv.Quote(f.zone) + " at this time"
		}
	}
	if skipped {
		return all[0], wall, ""
	}
	return all[0], all[0], ""
}

// instants returns the instants, in order, at which the zone's clocks show what wall shows in UTC. If clocks skip it,
// it returns the instant by the offset before the gap.
func instants(wall time.Time, zone *time.Location) (all []time.Time, skipped bool) {
	by := func(offset int) time.Time { return wall.Add(-time.Duration(offset) * time.Second).In(zone) }
	near := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(),
		wall.Nanosecond(), zone)
	_, offset := near.Zone()
	offsets := []int{offset}
	// near is the only instant, or next to a gap, or one of two. The others lie beyond an adjacent change.
	start, end := near.ZoneBounds()
	for _, change := range []time.Time{start, end} {
		if change.IsZero() {
			continue
		}
		_, before := change.Add(-1).Zone()
		_, after := change.Zone()
		offsets = append(offsets, before, after)
		if !by(before).Before(change) && by(after).Before(change) {
			return []time.Time{by(before)}, true
		}
	}
	for _, o := range offsets {
		t := by(o)
		if _, is := t.Zone(); is == o && !slices.ContainsFunc(all, t.Equal) {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all, false
}
