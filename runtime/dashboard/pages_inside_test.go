package dashboard

import (
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/cron"
)

func TestCronWords(t *testing.T) {
	for expr, want := range map[string]string{
		"* * * * *":          "every minute",
		"*/15 * * * *":       "every 15 minutes",
		"*/7 * * * *":        "", // 7 does not divide an hour
		"*/10 * * * * *":     "every 10 seconds",
		"* * * * * *":        "every second",
		"0 30 9 * * mon-fri": "at 09:30, Monday to Friday",
		"30 9,18 * * ?":      "at 09:30 and 18:30, every day",
		"5 */6 * * *":        "every 6 hours at minute 5",
		"0 * * * 1,7":        "every hour at minute 0, on Monday and Sunday",
		"0 0 1 * *":          "at 00:00, on day 1 of each month",
		"0 0 1 * mon":        "at 00:00, on day 1 of each month and on Monday",
		"0 0 1 1 *":          "at 00:00, on January 1",
		"1,2 0 * * *":        "at 00:01 and 00:02, every day",
		"0 8-18 * * *":       "every hour from 08:00 to 18:00",
		"@every 1h30m":       "every 1h30m",
		"@daily":             "at 00:00, every day",
		"15 0 3 * * *":       "",
		"0 3 29 feb *":       "at 03:00, on February 29", "0 3 * feb *": "at 03:00, every day in February",
		"0 3 * feb,jul-sep mon": "at 03:00, on Monday in February and July to September",
		"30 9-17/2 * * 1-5":     "every 2 hours from 09:30 to 17:30, Monday to Friday",
		"30 9-18/2 * * *":       "every 2 hours from 09:30 to 17:30",
		"*/10 8-17 * * 1-5":     "every 10 minutes from 08:00 to 17:59, Monday to Friday",
		"*/10 8 * * *":          "every 10 minutes from 08:00 to 08:59",
		"0,30 * * * *":          "every hour at minutes 0 and 30",
		"0,30 9,17 * * *":       "at 09:00, 09:30, 17:00 and 17:30, every day",
		"0 0 1,15 * *":          "at 00:00, on days 1 and 15 of each month",
		"0 0 1-7 jan,jul *":     "at 00:00, on days 1 to 7 of January and July",
		"0 12 * * mon-fri,sun":  "at 12:00, Monday to Friday and Sunday",
		"0 12 * * sun,mon-fri":  "at 12:00, on Sunday and Monday to Friday",
		"0-10 * * * *":          "",
		"*/10 8,9 * * *":        "",
		"0,30 9-17 * * *":       "",
		"0 0 1 jan mon":         "",
		"0,10,20,30 9,17 * * *": "",
		"0 8-18/1 * * *":        "",
		"0 0 * * mon-fri/2":     "",
		"*/5 * * * mon,WED":     "every 5 minutes, on Monday and Wednesday",
		"0 0 3,4,5 * * sun":     "at 03:00, 04:00 and 05:00, on Sunday",
		"*/1 * 1 * *":           "every minute, on day 1 of each month",
	} {
		if _, err := cron.Parse(expr, nil); err != nil {
			t.Errorf("%q: %v", expr, err)
		}
		if got := cronWords(expr); got != want {
			t.Errorf("%q: %q, want %q", expr, got, want)
		}
	}
}

// A signature comes from the network: what is odd gets one field for all arguments.
func TestFieldsOf(t *testing.T) {
	for sig, want := range map[string]int{
		"(x, y int, name *string, at time.Time, more []string) (int)": 5,
		"()": 0, "(x int, x int)": -1, "(x int": -1, "": -1, "(" + strings.Repeat("int,", 1000) + "int)": -1,
	} {
		fields, oneText := fieldsOf(sig)
		if oneText != (want < 0) || len(fields) != max(want, 0) {
			t.Errorf("%.40s: %+v, %t", sig, fields, oneText)
		}
	}
	fields, _ := fieldsOf("(x, y int, name *string, at time.Time, more []string, ok bool) (int)")
	for i, want := range []string{"line", "line", "line", "line", "text", "bool"} {
		if fields[i].Kind != want {
			t.Errorf("%+v: want %s", fields[i], want)
		}
	}
}

func TestAttention(t *testing.T) {
	ok, unserved := queueRow{Kind: "running"}, queueRow{Kind: "warn"}
	empty, paused := queueRow{Kind: "paused"}, queueRow{Kind: "paused", Waiting: af.Count{N: 1}}
	for want, queues := range map[string][]queueRow{
		"":                                    {ok, empty},
		"1 queue without a worker":            {ok, unserved},
		"2 queues without a worker, 1 paused": {unserved, paused, unserved},
		"Tasks wait in 1 paused queue":        {empty, paused},
		"Tasks wait in 2 paused queues":       {paused, ok, paused},
	} {
		if got := attention(queues); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Progress has its age, and neither a result nor a payload has one.
func TestAgeOfProgress(t *testing.T) {
	at := time.Now()
	p := taskPage{T: admin.Task{Task: af.Task{Status: af.StatusRunning, Progress: []byte("1"), Progressed: at,
		Payload: []byte("2")}}}
	p.values()
	if len(p.Values) != 2 || !p.Values[0].At.Equal(at) || !p.Values[1].At.IsZero() {
		t.Errorf("%+v", p.Values)
	}
}
