package dashboard

import (
	"net/http"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// A period is how far back charts of a page go. History is kept by minutes for 2 hours, and by hours for 7 days.
type period struct {
	Key, Name, Per string // its parameter, "last hour", "a minute"
	length, step   time.Duration
}

var periods = []period{
	{"1h", "last hour", "a minute", time.Hour, time.Minute},
	{"24h", "last 24 hours", "an hour", 24 * time.Hour, time.Hour},
	{"7d", "last 7 days", "an hour", 7 * 24 * time.Hour, time.Hour},
}

// periodOf returns the period that a request asks for. The first one is the default.
func periodOf(r *http.Request) period {
	for _, p := range periods {
		if p.Key == r.URL.Query().Get("for") {
			return p
		}
	}
	return periods[0]
}

// query selects the history of the period. Its last point is the current one.
func (p period) query(queue string, now time.Time) af.HistoryQuery {
	if p.step == time.Minute {
		return af.HistoryQuery{Queue: queue}
	}
	to := now.Truncate(p.step).Add(p.step)
	return af.HistoryQuery{Queue: queue, From: to.Add(-p.length), To: to, Step: p.step}
}

// charts returns the charts of the period.
func (p period) charts(points []af.HistoryPoint) []chart {
	return []chart{throughput("Tasks "+p.Per+", "+p.Name, points, p.step),
		waits("Wait before a start, "+p.Name, points, p.step), runs("Duration of attempts, "+p.Name, points, p.step)}
}

// Periods returns the links that choose a period on a page.
func (p period) Periods() []choice {
	all := make([]choice, len(periods))
	for i, other := range periods {
		all[i] = choice{Text: other.Name, Link: "?for=" + other.Key, On: other.Key == p.Key}
	}
	return all
}

// A choice is a link that selects one of several ways to show a page.
type choice struct {
	Text, Link string
	On         bool
}
