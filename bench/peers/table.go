package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// repeated is the metric that counts runs of tasks that have run before. It is the sum of all samples of a system, and
// must be 0, since nothing fails while they are taken.
const repeated = "repeated"

// samplesOf returns the values of a figure.
func samplesOf(values map[figure][]float64, f figure) []float64 {
	if f.metric != repeated {
		return values[f]
	}
	var sum float64
	var found bool
	for other, vs := range values {
		if other.system == f.system && other.metric == repeated {
			found = true
			for _, v := range vs {
				sum += v
			}
		}
	}
	if !found {
		return nil
	}
	return []float64{sum}
}

// value returns the value of a row in its samples, or NaN if there are none.
func (r row) value(samples []float64) float64 {
	switch {
	case len(samples) == 0:
		return math.NaN()
	case r.worst && r.unit == perSecond:
		return slices.Min(samples)
	case r.worst:
		return slices.Max(samples)
	}
	return median(samples)
}

// busyNote is above the table of a busy machine.
const busyNote = "**The machine was busy before this run, so its figures mean little.**"

// table returns the result in Markdown.
func (c *comparison) table(m *machine) string {
	var b strings.Builder
	if c.quick {
		b.WriteString("A quick run, only to see that everything works. ITS FIGURES MEAN NOTHING.\n\n")
	}
	if m.before.busy() {
		b.WriteString(busyNote + "\n\n")
	}
	fmt.Fprintf(&b, "%s\n\n", m.text())
	if c.rounds > 1 {
		fmt.Fprintf(&b, "Medians of %d rounds; in parentheses, the lowest and the highest.", c.rounds)
	} else {
		b.WriteString("One round.")
	}
	if c.older != nil {
		fmt.Fprintf(&b, " The column before has %s.", c.older.what)
	}
	b.WriteString("\n\n")
	columns := []string{"figure", "afgen", "compared with", "ratio", "goal", "result"}
	if c.older != nil {
		columns = slices.Insert(columns, 2, "before")
	}
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(columns)
	line(slices.Repeat([]string{"---"}, len(columns)))
	for _, r := range c.rows {
		line(c.line(r))
	}
	b.WriteString(c.notes())
	return b.String()
}

// line returns the cells of a row.
func (c *comparison) line(r row) []string {
	samples := samplesOf(c.values, r.afgen)
	own, old := r.value(samples), r.value(samplesOf(c.old, r.afgen))
	cells := []string{r.name, r.unit.formatRange(own, samples)}
	if c.older != nil {
		cells = append(cells, r.unit.format(old))
	}
	reference := math.NaN()
	if r.goal.of == "before" {
		reference = old
	}
	var peers []string
	for _, f := range r.figures()[1:] {
		v := r.value(samplesOf(c.values, f))
		if f.system == r.goal.of {
			reference = v
		}
		if !math.IsNaN(v) {
			peers = append(peers, fmt.Sprintf("%s %s (%s)", f.system, r.unit.format(v), ratio(own/v)))
		}
	}
	return append(cells, strings.Join(peers, ", "), ratio(own/reference), r.goalText(), r.verdict(own, reference))
}

// verdict reports whether a value meets the row's goal.
func (r row) verdict(own, reference float64) string {
	if !r.goal.exists {
		return ""
	}
	limit := r.goal.value
	if r.goal.of != "" {
		limit = r.goal.times * reference
	}
	switch {
	case math.IsNaN(own) || math.IsNaN(limit):
		return "not measured"
	case r.unit == perSecond && own >= limit, r.unit != perSecond && own <= limit:
		return "met"
	}
	return "**short**"
}

// notes returns what the table can't show: absolute values of growth, and what is missing.
func (c *comparison) notes() string {
	var notes []string
	for _, system := range []string{servers, embedded} {
		for metric, what := range map[string]string{"run": "a task", "page": "a page of 20"} {
			var values []string
			for _, size := range slices.Concat(quickSizes, grownSizes) {
				f := figure{"growth", system, fmt.Sprintf("%s-%d", metric, size)}
				if v := c.values[f]; len(v) > 0 {
					values = append(values, fmt.Sprintf("%s with %d", microseconds.format(v[0]), size))
				}
			}
			if len(values) > 0 {
				notes = append(notes, fmt.Sprintf("%s: %s takes %s tasks stored.", system, what, strings.Join(values, ", ")))
			}
		}
	}
	slices.Sort(notes)
	for _, m := range c.stack.missing {
		notes = append(notes, "NOT MEASURED: "+strings.ReplaceAll(m, "\n", " "))
	}
	for _, f := range c.failed {
		notes = append(notes, "FAILED: "+strings.ReplaceAll(f, "\n", " "))
	}
	if len(notes) == 0 {
		return ""
	}
	return "\n- " + strings.Join(notes, "\n- ") + "\n"
}

// ratio formats a ratio.
func ratio(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return ""
	case v < 0.1:
		return fmt.Sprintf("%.3f ×", v)
	case v < 10:
		return fmt.Sprintf("%.2f ×", v)
	}
	return fmt.Sprintf("%.0f ×", v)
}

// format formats a value with three digits.
func (u unit) format(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	switch u {
	case perSecond:
		if v >= 1000 {
			return digits(v/1000) + " k/s"
		}
		return digits(v) + "/s"
	case microseconds:
		switch {
		case v >= 1e6:
			return digits(v/1e6) + " s"
		case v >= 1e3:
			return digits(v/1e3) + " ms"
		}
		return digits(v) + " µs"
	case factor:
		return fmt.Sprintf("%.2f ×", v)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// formatRange formats a value and, if there are several samples, the lowest and the highest.
func (u unit) formatRange(v float64, samples []float64) string {
	if len(samples) < 2 {
		return u.format(v)
	}
	return fmt.Sprintf("%s (%s to %s)", u.format(v), u.format(slices.Min(samples)), u.format(slices.Max(samples)))
}

// digits formats a value with three digits, but at least all before the point.
func digits(v float64) string {
	switch {
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}
