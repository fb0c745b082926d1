package cron_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	robfig "github.com/robfig/cron/v3"

	"github.com/afgen/afgen/runtime/cron"
)

var theirs = robfig.NewParser(
	robfig.SecondOptional | robfig.Minute | robfig.Hour | robfig.Dom | robfig.Month | robfig.Dow | robfig.Descriptor,
)

// Without time zones and stepped days, a schedule is due when robfig/cron's is.
func TestFieldsMatchRobfig(t *testing.T) {
	for _, expr := range strings.Split(
		`* * * * *|*/7 * * * *|3-59/9 0-23/5 * * *|59 59 23 31 12 *|1,2,50/3 ? * * ?|0 0 1,15 * mon|`+
			`0 0 * JAN,Jul sun|0 0 ? 1-12/3 mon-fri|10/20 2 29 2 *|007 08 09 010 *|`+
			`@hourly|@daily|@midnight|@weekly|@monthly|@yearly|@annually`, "|") {
		want, err := theirs.Parse(expr)
		if err != nil {
			t.Fatal(err)
		}
		s := parse(t, expr, "")
		at := time.Date(2026, 2, 27, 23, 58, 7, 0, time.UTC)
		for range 40 {
			next := s.Next(at)
			if due := want.Next(at); !next.Equal(due) {
				t.Fatalf("%s after %v: %v, robfig/cron says %v", expr, at, next, due)
			}
			at = next
		}
	}
}

// The package comment lists these differences.
func TestDifferencesFromRobfig(t *testing.T) {
	for _, expr := range []string{"+5 * * * *", "*-5 * * * *", "1,,2 * * * *", "*/60 * * * *", "1\n* * * * *",
		"@every 1500ms", "TZ=UTC 0 0 * * *"} {
		if _, err := theirs.Parse(expr); err != nil {
			t.Errorf("%q: robfig/cron refuses it too: %v", expr, err)
		}
		_, err := cron.Parse(expr, nil)
		if _, ok := errors.AsType[*cron.Error](err); !ok {
			t.Errorf("%q: %v", expr, err)
		}
	}
	for _, expr := range []string{"0 0 * * 7", "0 0 * * fri-sun", "0 0 * * 5-7"} {
		if _, err := theirs.Parse(expr); err == nil {
			t.Errorf("%q: robfig/cron reads it too", expr)
		}
		parse(t, expr, "")
	}
}
