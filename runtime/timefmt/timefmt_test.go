package timefmt_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // independent of the machine's zones

	"pgregory.net/rapid"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/timefmt"
)

func TestSecondsAndNow(t *testing.T) {
	l, err := timefmt.New("%F %T", "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	if text := l.FromUnix(1795516200); text != "2026-11-24 11:30:00" {
		t.Errorf("written as %q", text)
	}
	if seconds, err := l.ToUnix("2026-11-24 11:30:00"); seconds != 1795516200 || err != nil {
		t.Errorf("read as %d, %v", seconds, err)
	}
	if _, err := l.ToUnix("yesterday"); backend.CodeOf(err) != backend.ErrInvalidArgument {
		t.Errorf("yesterday: %v", err)
	}
	before := time.Now().Unix()
	if now, err := l.ToUnix(l.Now()); now < before || now > time.Now().Unix() || err != nil {
		t.Errorf("now is %d, %v", now, err)
	}
}

func TestParse(t *testing.T) {
	const berlin, shanghai, newYork = "Europe/Berlin", "Asia/Shanghai", "America/New_York"
	for _, c := range []struct{ value, format, zone, want string }{
		{"2026-11-24 10:30:00", "", "", "2026-11-24T10:30:00Z"},
		{"2026-11-24 10:30:00", "", berlin, "2026-11-24T10:30:00+01:00"},
		{"2026-11-24 10:30:00", "%F %T", shanghai, "2026-11-24T10:30:00+08:00"},
		{"24.11.26 10:30", "%d.%m.%y %H:%M", "UTC", "2026-11-24T10:30:00Z"},
		{"68 69", "%y 69", "", "2068-01-01T00:00:00Z"},
		{"69", "%y", "", "1969-01-01T00:00:00Z"},
		{"Tuesday, November 24, 2026 at 12:05 AM", "%A, %B %d, %Y at %I:%M %p", "", "2026-11-24T00:05:00Z"},
		{"12:05:09 PM", "%r", "", "1970-01-01T12:05:09Z"},
		{"Tue Nov 24 10:30:00 2026", "%c", newYork, "2026-11-24T10:30:00-05:00"},
		{" 4-Nov-2026", "%v", "", "2026-11-04T00:00:00Z"},
		{" 9| 9 AM", "%k|%l %p", "", "1970-01-01T09:00:00Z"},
		{"2024 366", "%Y %j", "", "2024-12-31T00:00:00Z"},
		{"10:30:00.000042", "%T.%f", "", "1970-01-01T10:30:00.000042Z"},
		{"10:30:00.042", "%T.%L", "", "1970-01-01T10:30:00.042Z"},
		{"1795516200", "%s", berlin, "2026-11-24T11:30:00+01:00"},
		{"-1.500000", "%s.%f", "", "1969-12-31T23:59:59.5Z"},
		{"2026-11-24T10:30:00-0330", "%FT%T%z", berlin, "2026-11-24T15:00:00+01:00"},
		{"2026-07-01 00:00 CEST", "%F %R %Z", berlin, "2026-07-01T00:00:00+02:00"},
		{"100%\n\tx", "100%%%n%tx", "", "1970-01-01T00:00:00Z"},
		{"20261124103000", "%Y%m%d%H%M%S", "", "2026-11-24T10:30:00Z"},
		{"0000-02-29", "%F", "", "0000-02-29T00:00:00Z"},

		// Clocks are set back at 03:00. A repeated time is the first one unless %Z selects the other.
		{"2026-10-25 02:30:00", "", berlin, "2026-10-25T02:30:00+02:00"},
		{"2026-10-25 02:30 CEST", "%F %R %Z", berlin, "2026-10-25T02:30:00+02:00"},
		{"2026-10-25 02:30 CET", "%F %R %Z", berlin, "2026-10-25T02:30:00+01:00"},
		{"2026-11-01 01:00:00", "", newYork, "2026-11-01T01:00:00-04:00"},
		{"2026-11-01 01:59:59", "", newYork, "2026-11-01T01:59:59-04:00"},
		{"2026-11-01 02:00:00", "", newYork, "2026-11-01T02:00:00-05:00"},
		// Clocks are set forward at 02:00. A skipped time is moved behind the gap.
		{"2026-03-29 01:59:59", "", berlin, "2026-03-29T01:59:59+01:00"},
		{"2026-03-29 02:00:00", "", berlin, "2026-03-29T03:00:00+02:00"},
		{"2026-03-29 02:30:00", "", berlin, "2026-03-29T03:30:00+02:00"},
		{"2026-03-29 03:00:00", "", berlin, "2026-03-29T03:00:00+02:00"},
		{"2026-10-04 02:15:00", "", "Australia/Lord_Howe", "2026-10-04T02:45:00+11:00"}, // by half an hour
		{"2026-04-05 01:45:00", "", "Australia/Lord_Howe", "2026-04-05T01:45:00+11:00"},
		{"2011-12-30 12:00:00", "", "Pacific/Apia", "2011-12-31T12:00:00+14:00"}, // a whole day
	} {
		got, err := timefmt.Parse(c.value, c.format, c.zone)
		if s := got.Format(time.RFC3339Nano); err != nil || s != c.want {
			t.Errorf("%q as %q in %s: %s, %v, want %s", c.value, c.format, c.zone, s, err, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ value, format, zone, text string }{
		{"2026-11-24", "", "Europe/Nowhere", `unknown time zone "Europe/Nowhere"`},
		{"2026-11-24", "", "../etc/passwd", "unknown time zone"},
		{"x", "%Q", "", `unknown directive %Q`},
		{"x", "%Y %", "", "ends within a directive"},
		{"x", "%-", "", "ends within a directive"},
		{"48", "%V", "", "%V can format but not parse"},
		{"1", "%-d", "", "can format but not parse"},
		{"10", "%I", "", "need %p"},
		{"", "", "", `"%Y" does not match ""`},
		{"2026-11-24 10:30", "", "", "does not match"},
		{"2026-11-24 10:30:00 ", "", "", `" " is extra text`},
		{"2026-1-24 10:30:00", "", "", `"%m" does not match "1-24`},
		{"2026-02-29", "%F", "", "no such date"},
		{"2026-13-01", "%F", "", "no such date"},
		{"2026-00-10", "%F", "", "no such date"},
		{"2025 366", "%Y %j", "", "no such date"},
		{"24:00:00", "%T", "", `"%H" does not match`},
		{"23:59:60", "%T", "", `"%S" does not match`},
		{"13:00:00 PM", "%r", "", `"%I" does not match`},
		{"00:00:00 AM", "%r", "", `"%I" does not match`},
		{"Monday 2026-11-24", "%A %F", "", `it must be "Tuesday 2026-11-24"`},
		{"13 01 AM", "%H %I %p", "", "it must be"},
		{"tue", "%a", "", "does not match"},
		{"2026-07-01 00:00 CET", "%F %R %Z", "Europe/Berlin", `doesn't use "CET" at this time`},
		{"2026-03-29 02:30 CET", "%F %R %Z", "Europe/Berlin", `doesn't use "CET" at this time`},
		{"+0160", "%z", "", "does not match"},
		{"+1:00", "%z", "", "does not match"},
		{"01", "%s", "", "it must be"},
		{"99999999999999", "%s", "", "does not match"},
		{"٢٠٢٦", "%Y", "", "does not match"},
	} {
		_, err := timefmt.Parse(c.value, c.format, c.zone)
		if !errors.Is(err, backend.ErrInvalidArgument) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%q as %q in %s: %v, want one that says %s", c.value, c.format, c.zone, err, c.text)
		}
	}
}

func TestFormatAndConvert(t *testing.T) {
	at := time.Date(2026, 11, 4, 9, 5, 7, 123456789, time.UTC)
	for format, want := range map[string]string{
		"":                            "2026-11-04 17:05:07",
		"%d/%b/%Y:%H:%M:%S %z":        "04/Nov/2026:17:05:07 +0800",
		"%A %a %B %j %e|%-d":          "Wednesday Wed November 308  4|4",
		"%I %l %p %k %Z":              "05  5 PM 17 CST",
		"%f %L %s":                    "123456 123 1793783107",
		"%G-W%V-%u %U %W %w %C %y %%": "2026-W45-3 44 44 3 20 26 %",
		"%D %F %R %r %T":              "11/04/26 2026-11-04 17:05 05:05:07 PM 17:05:07",
	} {
		if got, err := timefmt.Format(at, format, "Asia/Shanghai"); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", format, got, err, want)
		}
	}
	if _, err := timefmt.Format(at, "", "Mars"); !errors.Is(err, backend.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
	got, err := timefmt.Convert("2026-11-24 10:30:00", "", "Europe/Berlin", "%d.%m. %H:%M", "America/New_York")
	if err != nil || got != "24.11. 04:30" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := timefmt.FromUnix(0, "", "Asia/Shanghai"); err != nil || got != "1970-01-01 08:00:00" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := timefmt.ToUnix("1970-01-01 08:00:01", "", "Asia/Shanghai"); err != nil || got != 1 {
		t.Errorf("%d, %v", got, err)
	}
	before := time.Now().Unix()
	s, err := timefmt.Now("%s", "Local")
	if err != nil || s < fmt.Sprint(before) || s > fmt.Sprint(time.Now().Unix()) {
		t.Errorf("%q, %v", s, err)
	}
	for _, err := range []error{second(timefmt.Convert("x", "", "", "", "")), second(timefmt.ToUnix("x", "", "")),
		second(timefmt.Now("%Q", ""))} {
		if !errors.Is(err, backend.ErrInvalidArgument) {
			t.Errorf("got %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

var zones = []string{"UTC", "Europe/Berlin", "Asia/Shanghai", "America/New_York",
	"Australia/Lord_Howe", "Asia/Kathmandu",
	"America/St_Johns", "Pacific/Apia", "Africa/Casablanca", "America/Caracas"}

var instants = rapid.Custom(func(t *rapid.T) time.Time {
	return time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "seconds"), rapid.Int64Range(0, 999_999).Draw(t, "micros")*1000)
})

// A time formatted with its offset parses to itself. Without an offset it parses to the same wall-clock time, and
// never later than the original.
func TestFormatParseRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, zone := instants.Draw(t, "at"), rapid.SampledFrom(zones).Draw(t, "zone")
		for _, format := range []string{"%F %T.%f %z", "%s.%f", "%A %c %j %I %p.%f%z %y"} {
			text, err := timefmt.Format(at, format, zone)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := timefmt.Parse(text, format, zone); err != nil || !back.Equal(at) {
				t.Fatalf("%v as %q in %s is %q and comes back as %v, %v", at, format, zone, text, back, err)
			}
		}
		const local = "%a %e %B %Y %k:%M:%S.%f"
		text, err := timefmt.Format(at, local, zone)
		if err != nil {
			t.Fatal(err)
		}
		back, err := timefmt.Parse(text, local, zone)
		if again, _ := timefmt.Format(back, local, zone); err != nil || again != text || back.After(at) {
			t.Fatalf("%v in %s is %q and comes back as %v, %v", at, zone, text, back, err)
		}
		if called, err := timefmt.Parse(text+at.In(back.Location()).Format(" MST"), local+" %Z", zone); err != nil ||
			!called.Equal(at) {
			t.Fatalf("%v in %s is %q and comes back as %v, %v", at, zone, text, called, err)
		}
	})
}

// Parsing accepts only what formatting writes, unless clocks skip the time.
func FuzzParse(f *testing.F) {
	f.Add("2026-11-24 10:30:00", "%Y-%m-%d %H:%M:%S", uint8(1))
	f.Add("Tue Nov 24 10:30:00 2026 -0100", "%c %z", uint8(2))
	f.Add("12 PM 1 -5", "%I %p %s %f", uint8(3))
	f.Add("2026-03-29 02:30 CEST%", "%F %R %Z%%", uint8(1))
	f.Fuzz(func(t *testing.T, value, format string, zone uint8) {
		l, err := timefmt.New(format, zones[int(zone)%len(zones)])
		if err != nil {
			return
		}
		at, err := l.Parse(value)
		if err != nil {
			return
		}
		if strings.Contains(format, "%z") {
			return // the zone's own offset differs
		}
		if again := l.Format(at); again != value {
			if next, err := l.Parse(again); err != nil || !next.Equal(at) {
				t.Errorf("%q as %q is %v, which is %q, which is %v, %v", value, format, at, again, next, err)
			}
		}
	})
}

func BenchmarkLayout(b *testing.B) {
	l, err := timefmt.New("", "Europe/Berlin")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := l.Parse("2026-11-24 10:30:00"); err != nil {
			b.Fatal(err)
		}
	}
}
