package cron_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/cron"
)

func parse(t *testing.T, expr, zone string) cron.Schedule {
	t.Helper()
	z, err := cron.Zone(zone)
	if err != nil {
		t.Fatal(err)
	}
	s, err := cron.Parse(expr, z)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return s
}

// Each line has an expression, a zone, an instant and the due times after it in the zone's time.
func TestNext(t *testing.T) {
	for _, line := range strings.Split(strings.TrimSpace(`
*/10 * * * * * | UTC | 2026-05-01T00:00:00 | 05-01T00:00:10 05-01T00:00:20
59 * * * * * | UTC | 2026-05-01T00:00:59 | 05-01T00:01:59
5,1 2 * * * | UTC | 2026-05-01T02:01:00 | 05-01T02:05:00 05-02T02:01:00
0-20/10 4 * * * | UTC | 2026-05-01T00:00:00 | 05-01T04:00:00 05-01T04:10:00 05-01T04:20:00 05-02T04:00:00
50/5 4 * * * | UTC | 2026-05-01T00:00:00 | 05-01T04:50:00 05-01T04:55:00 05-02T04:50:00
0 0 31 * * | UTC | 2026-01-31T00:00:00 | 03-31T00:00:00 05-31T00:00:00
0 0 29 2 * | UTC | 2026-01-31T00:00:00 | 02-29T00:00:00
0 0 13 * 5 | UTC | 2026-02-01T00:00:00 | 02-06T00:00:00 02-13T00:00:00 02-20T00:00:00 02-27T00:00:00 03-06T00:00:00
0 0 1,15 * mon | UTC | 2026-06-01T00:00:00 | 06-08T00:00:00 06-15T00:00:00 06-22T00:00:00 06-29T00:00:00 07-01T00:00:00
0 0 */2 * 1 | UTC | 2026-06-01T00:00:00 | 06-15T00:00:00 06-29T00:00:00 07-13T00:00:00
0 0 13 * */5 | UTC | 2026-01-01T00:00:00 | 02-13T00:00:00 03-13T00:00:00 09-13T00:00:00
0 0 ? * 7 | UTC | 2026-06-01T00:00:00 | 06-07T00:00:00 06-14T00:00:00
0 0 * * fri-sun | UTC | 2026-06-01T00:00:00 | 06-05T00:00:00 06-06T00:00:00 06-07T00:00:00 06-12T00:00:00
0 0 * JAN,Jul 0 | UTC | 2026-07-19T00:00:00 | 07-26T00:00:00 01-03T00:00:00
@yearly | UTC | 2026-07-19T00:00:00 | 01-01T00:00:00
@monthly | UTC | 2026-07-19T00:00:00 | 08-01T00:00:00
@weekly | UTC | 2026-07-19T00:00:00 | 07-26T00:00:00
@daily | UTC | 2026-07-19T00:00:00 | 07-20T00:00:00
@midnight | UTC | 2026-07-19T23:59:59 | 07-20T00:00:00
@hourly | UTC | 2026-07-19T00:00:00 | 07-19T01:00:00
@every 90m | UTC | 2026-07-19T00:10:00 | 07-19T01:30:00 07-19T03:00:00
0 9 * * * | America/New_York | 2026-07-19T09:00:00 | 07-20T09:00:00
30 2 * * * | Europe/Berlin | 2026-03-28T02:30:00 | 03-29T03:00:00 03-30T02:30:00
*/20 2 * * * | Europe/Berlin | 2026-03-28T02:40:00 | 03-29T03:00:00 03-30T02:00:00
0 3 * * * | Europe/Berlin | 2026-03-29T01:59:59 | 03-29T03:00:00 03-30T03:00:00
0 2,3 * * * | Europe/Berlin | 2026-03-29T01:59:59 | 03-29T03:00:00 03-30T02:00:00
30 2 * * * | Europe/Berlin | 2026-10-24T02:30:00 | 10-25T02:30:00 10-26T02:30:00
0 */1 * * * | Europe/Berlin | 2026-10-25T01:00:00 | 10-25T02:00:00 10-25T02:00:00 10-25T03:00:00
0 0-23 * * * | Europe/Berlin | 2026-03-29T01:00:00 | 03-29T03:00:00 03-29T04:00:00
30 * * * * | Europe/Berlin | 2026-03-29T01:30:00 | 03-29T03:30:00
0 0 * * * | Africa/Cairo | 2026-04-23T00:00:00 | 04-24T01:00:00 04-25T00:00:00
15 2 * * * | Australia/Lord_Howe | 2026-10-03T02:15:00 | 10-04T02:30:00 10-05T02:15:00
`), "\n") {
		part := strings.Split(line, " | ")
		zone, _ := cron.Zone(part[1])
		at, err := time.ParseInLocation("2006-01-02T15:04:05", part[2], zone)
		if err != nil {
			t.Fatal(err)
		}
		s := parse(t, part[0], part[1]).From(time.Date(2026, 7, 19, 0, 0, 0, 0, time.UTC))
		for _, want := range strings.Fields(part[3]) {
			next := s.Next(at)
			if got := next.Format("01-02T15:04:05"); got != want || !next.After(at) {
				t.Errorf("%s in %s after %v: %v, want %s", part[0], part[1], at, next, want)
			}
			at = next
		}
	}
}

func TestEveryCountsFromInstant(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 7, 500, time.UTC)
	s := parse(t, "@every 45s", "").From(from)
	for at, want := range map[time.Time]time.Time{
		from.Add(-time.Hour):        from.Truncate(time.Second).Add(45 * time.Second),
		from:                        from.Truncate(time.Second).Add(45 * time.Second),
		from.Add(45 * time.Second):  from.Truncate(time.Second).Add(90 * time.Second),
		from.Add(100 * time.Second): from.Truncate(time.Second).Add(135 * time.Second),
	} {
		if got := s.Next(at); !got.Equal(want) {
			t.Errorf("after %v: %v, want %v", at, got, want)
		}
	}
}

// Each mistake is reported at its position, shown in brackets.
func TestParseErrorPositions(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "empty expression",
		"* * *[]":                        "field count 3 is wrong",
		"nonsense[]":                     "field count 1 is wrong",
		"0 0 0 1 1 * [2026] *":           "field count 8 is wrong",
		"0 [60] * * * *":                 "minute 60 out of range [0, 59]",
		"0 [24] * * *":                   "hour 24 out of range [0, 23]",
		"0 0 [0] * *":                    "day of month 0 out of range [1, 31]",
		"0 0 * 1,[13],2 *":               "month 13 out of range [1, 12]",
		"0 0 * * [8]":                    "day of week 8 out of range [0, 7]",
		"0 0 * [foo] *":                  `"foo" is not a month`,
		"0 0 * * [anm]":                  `"anm" is not a day of week`,
		"[20-10] * * * *":                "minute range is reversed",
		"*/[0] * * * *":                  `minute step "0" is not a number from 1 to 59`,
		"*/[x] * * * *":                  `minute step "x"`,
		"1,[],3 * * * *":                 "minute has an empty value",
		"1-[] * * * *":                   "minute has an empty value",
		"[-1] * * * *":                   "",
		"[@fortnightly]":                 "unknown descriptor @fortnightly",
		"@daily [0]":                     "unexpected text after @daily",
		"[@every]":                       "@every needs a duration",
		"@every [soon]":                  "soon is not a duration",
		"@every [500ms]":                 "500ms is too short",
		"@every [1500ms]":                "1500ms is not a whole number of seconds",
		"@every 1s [2s]":                 "unexpected text after the duration",
		"[TZ=Asia/Tokyo] 0 0 * * *":      "the time zone is a separate argument",
		"[CRON_TZ=Asia/Tokyo] 0 0 * * *": "the time zone is a separate argument",
		"[0 0 30 2 *]":                   "never due",
	} {
		expr := strings.NewReplacer("[", "", "]", "").Replace(in)
		_, err := cron.Parse(expr, nil)
		e, ok := errors.AsType[*cron.Error](err)
		if !ok {
			t.Errorf("%q: %v", expr, err)
			continue
		}
		got := expr[:e.Offset] + "[" + expr[e.Offset:e.Offset+e.Length] + "]" + expr[e.Offset+e.Length:]
		if strings.Contains(in, "[") && in[0:2] != "[-" && got != in || !strings.HasPrefix(e.Problem, want) {
			t.Errorf("%q: %s: %s; want %s: %s", expr, got, e.Problem, in, want)
		}
	}
}

func TestZone(t *testing.T) {
	if z, err := cron.Zone(""); err != nil || z != time.UTC {
		t.Errorf("no name: %v, %v", z, err)
	}
	for _, name := range []string{"Local", "Europe/Berlln", "../UTC", "europe"} {
		if z, err := cron.Zone(name); err == nil {
			t.Errorf("%q is %v", name, z)
		}
	}
}

func TestZeroScheduleIsNeverDue(t *testing.T) {
	if next := (cron.Schedule{}).Next(time.Now()); !next.IsZero() {
		t.Error(next)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"* * * * *", "*/10 * * * * *", "@every 3s", "0 0 29 2 sun",
		"5/3,1-9/2,* 1 1 1 7", "@daily"} {
		f.Add(s)
	}
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, expr string) {
		s, err := cron.Parse(expr, nil)
		if e, ok := errors.AsType[*cron.Error](err); ok {
			_ = expr[e.Offset : e.Offset+e.Length]
			return
		}
		if next := s.Next(at); err != nil || !next.After(at) || next.Nanosecond() != 0 {
			t.Errorf("%q: %v, %v", expr, next, err)
		}
	})
}
