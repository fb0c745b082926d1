package dashboard

import (
	"fmt"
	"html/template"
	"net/http"
	"strings"
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
	{"7d", "last 7 days", "in 3 hours", 7 * 24 * time.Hour, 3 * time.Hour}, // by hours, the page would be too large
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
		waits("Wait before a start, "+p.Name, points, p.step), runs("Duration of attempts, "+p.Name, points, p.step),
		flow("New and ended tasks "+p.Per+", "+p.Name, points, p.step)}
}

// flow returns a chart of how many tasks were submitted and how many ended: between the lines, tasks pile up.
func flow(title string, points []af.HistoryPoint, step time.Duration) chart {
	c := chart{Title: title, Legend: []legend{{"pending", "new"}, {"running", "ended"}}}
	c.times(points)
	submitted := func(p *af.HistoryPoint) int64 { return p.Submitted }
	ended := func(p *af.HistoryPoint) int64 { return p.Succeeded + p.Failed + p.Stopped }
	most := int64(0)
	for i := range points {
		most = max(most, submitted(&points[i]), ended(&points[i]))
	}
	if most == 0 {
		c.Empty = "No task was submitted or has ended in this time."
		most = 1
	}
	top := nice(most)
	c.Most, c.Half = number(top), halfOf(top)
	var b strings.Builder
	begin(&b, len(points), title)
	for _, line := range []struct {
		class string
		of    func(*af.HistoryPoint) int64
	}{{"pending", submitted}, {"running", ended}} {
		fmt.Fprintf(&b, `<path class="line g-%s" d="M`, line.class)
		for i := range points {
			y := chartHeight - float64(line.of(&points[i]))/float64(top)*chartHeight
			fmt.Fprintf(&b, " %.0f %.2f", (float64(i)+.5)*barWidth, y)
		}
		b.WriteString(`"/>`)
	}
	for i := range points {
		p := &points[i]
		fmt.Fprintf(&b, `<g class="bar"><title>%s: %s submitted, %s ended</title><rect class="hit" x="%.0f" y="0" `+
			`width="%.0f" height="%.0f"/></g>`, label(p.Start, step), number(submitted(p)), number(ended(p)),
			float64(i)*barWidth, barWidth, chartHeight)
	}
	b.WriteString(`</svg>`)
	c.SVG = template.HTML(b.String())
	return c
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
