package dashboard

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// Charts are SVG without text: they are stretched to the space there is, and the labels around them are HTML. The style
// sheet colors their classes. Titles are shown by browsers while the mouse is over a part.

// strip returns the life of a task as a bar: its attempts, and the time between them.
func strip(t *af.Task, now time.Time) template.HTML {
	begin, end := t.Created, now
	if t.Status.Final() && !t.Ended.IsZero() {
		end = t.Ended
	}
	if !t.Status.Final() && t.RunAt.After(end) && t.RunAt.Sub(now) < 24*time.Hour {
		end = t.RunAt
	}
	whole := end.Sub(begin)
	if whole <= 0 || len(t.Attempts) == 0 && t.Status != af.StatusRunning {
		return ""
	}
	var b strings.Builder
	x := func(at time.Time) float64 { return min(max(float64(at.Sub(begin))/float64(whole), 0), 1) * 1000 }
	bar := func(class, title string, from, to time.Time) {
		left := x(from)
		width := max(x(to)-left, 4) // visible although short
		left = min(left, 1000-width)
		fmt.Fprintf(&b, `<rect class="f-%s" x="%.1f" y="0" width="%.1f" height="10"><title>%s</title></rect>`,
			class, left, width, template.HTMLEscapeString(title))
	}
	b.WriteString(`<svg class="strip" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" ` +
		`aria-label="Attempts over time"><rect class="f-none" x="0" y="0" width="1000" height="10"/>`)
	for _, a := range t.Attempts {
		bar(string(a.Outcome), fmt.Sprintf("Attempt %d %s after %s", a.Attempt, outcomeWord(a.Outcome),
			took(a.Ended.Sub(a.Started))), a.Started, a.Ended)
	}
	if t.Status == af.StatusRunning {
		bar("running", fmt.Sprintf("Attempt %d runs for %s", t.Attempt, took(now.Sub(t.Started))), t.Started, now)
	}
	if end.After(now) {
		fmt.Fprintf(&b, `<rect class="f-now" x="%.1f" y="0" width="2" height="10"><title>now</title></rect>`, x(now))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// A chart is the data of the template "chart".
type chart struct {
	Title  string
	SVG    template.HTML
	Most   string // the label of the highest value
	Half   string
	X      []string // the labels of the times, evenly spaced from the first point to now
	Legend []legend
	Empty  string // why there is nothing to see
}

// A legend names a color of a chart.
type legend struct{ Class, Text string }

const (
	chartHeight = 100.0
	barWidth    = 10.0
)

// throughput returns a chart of how many tasks have ended, and how.
func throughput(title string, points []af.HistoryPoint, step time.Duration) chart {
	c := chart{Title: title, Legend: []legend{{"success", "succeeded"}, {"failed", "failed"}, {"retrying", "retried"},
		{"stopped", "stopped"}}}
	c.times(points)
	most := int64(0)
	for i := range points {
		p := &points[i]
		most = max(most, p.Succeeded+p.Failed+p.Retried+p.Stopped)
	}
	if most == 0 {
		c.Empty = "No task has ended in this time."
		most = 1
	}
	top := nice(most)
	c.Most, c.Half = number(top), halfOf(top)
	var b strings.Builder
	begin(&b, len(points), title)
	for i := range points {
		p := &points[i]
		x := float64(i) * barWidth
		fmt.Fprintf(&b, `<g class="bar"><title>%s: %s succeeded, %s failed, %s retried, %s stopped</title>`+
			`<rect class="hit" x="%.0f" y="0" width="%.0f" height="%.0f"/>`, label(p.Start, step), number(p.Succeeded),
			number(p.Failed), number(p.Retried), number(p.Stopped), x, barWidth, chartHeight)
		y := chartHeight
		for _, part := range []struct {
			class string
			n     int64
		}{{"success", p.Succeeded}, {"stopped", p.Stopped}, {"retrying", p.Retried}, {"failed", p.Failed}} {
			if part.n == 0 {
				continue
			}
			h := max(float64(part.n)/float64(top)*chartHeight, 1.5) // visible next to large ones
			y = max(y-h, 0)
			fmt.Fprintf(&b, `<rect class="f-%s" x="%.1f" y="%.2f" width="%.1f" height="%.2f"/>`, part.class, x+1, y,
				barWidth-2, h)
		}
		b.WriteString(`</g>`)
	}
	b.WriteString(`</svg>`)
	c.SVG = template.HTML(b.String())
	return c
}

// waits returns a chart of how long tasks have waited: the median and the slowest percent.
func waits(title string, points []af.HistoryPoint, step time.Duration) chart {
	c := chart{Title: title, Legend: []legend{{"running", "median"}, {"pending", "99th percentile"}}}
	c.times(points)
	most := time.Duration(0)
	for i := range points {
		most = max(most, points[i].Wait.P99)
	}
	if most == 0 {
		c.Empty = "No task has started in this time."
		most = time.Second
	}
	top := niceSpan(most)
	c.Most, c.Half = axisSpan(top), axisSpan(top/2)
	var b strings.Builder
	begin(&b, len(points), title)
	y := func(d time.Duration) float64 { return chartHeight - float64(d)/float64(top)*chartHeight }
	for _, line := range []struct {
		class string
		of    func(*af.Distribution) time.Duration
	}{
		{"pending", func(d *af.Distribution) time.Duration { return d.P99 }},
		{"running", func(d *af.Distribution) time.Duration { return d.P50 }},
	} {
		path, drawn := "", false
		for i := range points {
			if points[i].Wait.Count == 0 {
				drawn = false
				continue
			}
			x := float64(i)*barWidth + barWidth/2
			if !drawn { // a short line shows a point without neighbors
				path += fmt.Sprintf("M%.1f %.2fh.1", x-0.1, y(line.of(&points[i].Wait)))
			}
			path += fmt.Sprintf("L%.1f %.2f", x, y(line.of(&points[i].Wait)))
			drawn = true
		}
		if path != "" {
			fmt.Fprintf(&b, `<path class="line g-%s" d="%s"/>`, line.class, path)
		}
	}
	for i := range points {
		p := &points[i]
		fmt.Fprintf(&b, `<g class="bar"><title>%s: %s started, median %s, 99th percentile %s, longest %s</title>`+
			`<rect class="hit" x="%.0f" y="0" width="%.0f" height="%.0f"/></g>`, label(p.Start, step), number(p.Wait.Count),
			took(p.Wait.P50), took(p.Wait.P99), took(p.Wait.Max), float64(i)*barWidth, barWidth, chartHeight)
	}
	b.WriteString(`</svg>`)
	c.SVG = template.HTML(b.String())
	return c
}

// begin writes the beginning of a chart of n points, with lines at its half and its top.
func begin(b *strings.Builder, n int, title string) {
	width := max(float64(n), 1) * barWidth
	fmt.Fprintf(b, `<svg class="plot" viewBox="0 0 %.0f %.0f" preserveAspectRatio="none" role="img" aria-label="%s">`,
		width, chartHeight, template.HTMLEscapeString(title))
	for _, y := range []float64{0, chartHeight / 2} {
		fmt.Fprintf(b, `<path class="grid" d="M0 %.0fH%.0f"/>`, y, width)
	}
}

// times sets the labels of the times: of each quarter, as the points are evenly spaced.
func (c *chart) times(points []af.HistoryPoint) {
	if len(points) == 0 {
		return
	}
	const parts = 4
	for i := range parts {
		c.X = append(c.X, points[len(points)*i/parts].Start.UTC().Format("15:04"))
	}
	c.X[0] += " UTC"
	c.X = append(c.X, "now")
}

func label(start time.Time, step time.Duration) string {
	start = start.UTC()
	if step >= time.Hour {
		return start.Format("2006-01-02 15:04") + "–" + start.Add(step).Format("15:04")
	}
	return start.Format("15:04")
}

// nice returns the next number that is easy to read and to halve, so that at least five eighths of a chart are used.
func nice(n int64) int64 {
	for _, small := range []int64{1, 2, 4, 6, 8} {
		if n <= small {
			return small
		}
	}
	for p := int64(10); ; p *= 10 {
		for _, tenths := range []int64{10, 12, 16, 20, 30, 40, 50, 60, 80} {
			if m := tenths * (p / 10); m >= n || p >= 1e17 {
				return m
			}
		}
	}
}

func halfOf(n int64) string {
	if n == 1 {
		return ""
	}
	return number(n / 2)
}

// niceSpan returns the next duration that is easy to read and to halve.
func niceSpan(d time.Duration) time.Duration {
	if d <= 800*time.Millisecond {
		return time.Duration(nice(d.Milliseconds()+1)) * time.Millisecond
	}
	for _, s := range []time.Duration{1, 2, 4, 6, 10, 20, 30, 60, 120, 240, 360, 600, 1200, 1800, 3600, 7200, 14400, 21600,
		43200, 86400} {
		if s*time.Second >= d {
			return s * time.Second
		}
	}
	return time.Duration(nice(int64(d.Hours()/24)+1)) * 24 * time.Hour
}

// axisSpan returns a duration of niceSpan, or half of it, in one unit.
func axisSpan(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d > day && d%day == 0:
		return number(int64(d/day)) + " days"
	case d >= time.Hour && d%time.Hour == 0:
		return number(int64(d/time.Hour)) + " h"
	case d >= time.Minute && d%time.Minute == 0:
		return number(int64(d/time.Minute)) + " min"
	case d >= time.Second && d%time.Second == 0:
		return number(int64(d/time.Second)) + " s"
	}
	return took(d)
}
