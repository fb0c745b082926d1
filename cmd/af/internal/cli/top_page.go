package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

// A queueOrder is an order of the queues of af top. Names break ties.
type queueOrder struct {
	name    string
	compare func(a, b *af.QueueInfo) int
}

var (
	byUrgency = queueOrder{"urgency", func(a, b *af.QueueInfo) int {
		return cmp.Or(cmp.Compare(urgency(a), urgency(b)), compareOldest(a, b))
	}}
	// queueOrders has the orders by their keys.
	queueOrders = map[byte]queueOrder{
		'u': byUrgency,
		'w': {"waiting", func(a, b *af.QueueInfo) int { return cmp.Compare(waiting(*b).N, waiting(*a).N) }},
		'r': {"running", func(a, b *af.QueueInfo) int { return cmp.Compare(running(b), running(a)) }},
		'n': {"name", func(_, _ *af.QueueInfo) int { return 0 }},
	}
)

// urgency returns how much a queue hurts, the worst first.
func urgency(q *af.QueueInfo) int {
	unfinished := waiting(*q).N + q.Counts[af.StatusRetrying].N
	switch {
	case unfinished > 0 && q.Workers == 0:
		return 0
	case unfinished > 0 && (q.Limits.Paused || q.Slots == 0):
		return 1
	case !q.Oldest.IsZero():
		return 2
	case q.Counts[af.StatusRetrying].N > 0:
		return 3
	case running(q) > 0:
		return 4
	}
	return 5
}

// compareOldest compares queues by their oldest ready tasks; those without one come last.
func compareOldest(a, b *af.QueueInfo) int {
	switch {
	case a.Oldest.IsZero() && b.Oldest.IsZero():
		return 0
	case a.Oldest.IsZero():
		return 1
	case b.Oldest.IsZero():
		return -1
	}
	return a.Oldest.Compare(b.Oldest)
}

// running returns how many tasks of a queue run, by what instances report or the store has.
func running(q *af.QueueInfo) int { return max(q.Running, q.Counts[af.StatusRunning].N) }

// lines returns the page. It is a function of the state and the view alone.
func (s *topState) lines(v *view, order queueOrder) []string {
	lines := s.header(v)
	foot := ""
	if v.Keys {
		foot = text.Line(&v.Printer, text.Cell{Text: footer(order), Style: text.Dim})
	}
	left := 0 // lines for the sections; 0 means any number
	if v.Height > 0 {
		left = max(v.Height-len(lines), 1)
		if foot != "" {
			left = max(left-2, 1)
		}
	}
	for _, part := range shareLines(left, []section{s.queues(v, order), s.running(v), s.failures(v)}) {
		lines = append(lines, "")
		lines = append(lines, part.table.Lines(&v.Printer)...)
		if more := part.total - len(part.table.Rows); more > 0 {
			lines = append(lines, v.more(more))
		}
	}
	if foot == "" {
		return lines[:min(len(lines), cmp.Or(v.Height, len(lines)))]
	}
	for len(lines) < v.Height-1 {
		lines = append(lines, "")
	}
	return append(lines[:max(v.Height-1, 0)], foot)
}

// footer returns the keys. The current order is in capitals.
func footer(order queueOrder) string {
	keys := "q quit  p pause  sort:"
	for _, k := range []byte("uwrn") {
		name := queueOrders[k].name
		if name == order.name {
			name = strings.ToUpper(name)
		}
		keys += " " + string(k) + " " + name + " "
	}
	return strings.TrimRight(keys, " ")
}

// A section is a table of the page.
type section struct {
	table *text.Table
	total int // rows, with those that are not in the table
}

// shareLines returns the sections that have rows, cut so that they take a number of lines. Each gets a row in turn. If
// there are too few lines for all of them, the last ones are left out.
func shareLines(lines int, sections []section) []section {
	const least = 4 // lines of a section: a blank one, the titles, a row, and how many more there are
	sections = slices.DeleteFunc(sections, func(s section) bool { return len(s.table.Rows) == 0 })
	if lines == 0 {
		return sections
	}
	for len(sections) > 0 && lines < least*len(sections) {
		sections = sections[:len(sections)-1]
	}
	rows := make([]int, len(sections)) // with the line about more rows
	left := lines - 2*len(sections)
	for given := true; given && left > 0; {
		given = false
		for i, s := range sections {
			want := len(s.table.Rows)
			if s.total > want {
				want++
			}
			if left > 0 && rows[i] < want {
				rows[i]++
				left--
				given = true
			}
		}
	}
	for i, s := range sections {
		if s.total > rows[i] {
			s.table.Rows = s.table.Rows[:rows[i]-1]
		}
	}
	return sections
}

// header returns the lines above the tables.
func (s *topState) header(v *view) []string {
	line := func(cells ...text.Cell) string { return text.Line(&v.Printer, cells...) }
	lines := []string{line(append([]text.Cell{{Text: "af top", Style: text.Bold}, text.Of(s.System)}, v.status()...)...)}
	down := s.down(v)
	health := text.Cell{Text: "healthy", Style: text.Green}
	switch {
	case len(down) > 0:
		health = text.Cell{Text: "DEGRADED", Style: text.Red}
	case s.Instances == 0:
		health = text.Cell{Text: "nothing runs", Style: text.Yellow}
	}
	lines = append(lines, line(health, text.Of(number(s.Instances, "instance", "instances")),
		text.Of(number(s.Nodes, "node", "nodes")), text.Of(number(s.Jobs, "job", "jobs")),
		text.Of(number(len(s.Queues), "queue", "queues"))))
	lines = append(lines, down...)
	style := func(n int, s text.Style) text.Style {
		if n == 0 {
			return text.Plain
		}
		return s
	}
	all := waiting(af.QueueInfo{Counts: s.Counts})
	running, retrying := s.Counts[af.StatusRunning], s.Counts[af.StatusRetrying]
	lines = append(lines, line(text.Of("Tasks"), text.Of("waiting "+text.Count(all)),
		text.Cell{Text: "running " + text.Count(running), Style: style(running.N, text.Blue)},
		text.Cell{Text: "retrying " + text.Count(retrying), Style: style(retrying.N, text.Yellow)},
		text.Of("oldest "+text.Since(s.Oldest, v.Now))))
	if m := s.Minute; m != nil {
		rate := func(what string, n int64, st text.Style) text.Cell {
			return text.Cell{Text: what + " " + text.Number(n), Style: style(int(n), st)}
		}
		lines = append(lines, line(text.Of("Per minute at "+m.Start.In(v.Now.Location()).Format("15:04")),
			rate("submitted", m.Submitted, text.Plain), rate("succeeded", m.Succeeded, text.Green),
			rate("failed", m.Failed, text.Red), rate("retried", m.Retried, text.Yellow)))
		var spent []text.Cell
		for _, d := range []struct {
			what string
			of   af.Distribution
		}{{"Waited", m.Wait}, {"ran", m.Run}} {
			if d.of.Count > 0 {
				spent = append(spent, text.Of(d.what), text.Of("p50 "+text.Duration(d.of.P50)),
					text.Of("p99 "+text.Duration(d.of.P99)))
			}
		}
		if len(spent) > 0 {
			lines = append(lines, line(spent...))
		}
	}
	return lines
}

// down returns lines about what is down or could not be read.
func (s *topState) down(v *view) []string {
	var lines []string
	add := func(cells ...text.Cell) { lines = append(lines, text.Line(&v.Printer, cells...)) }
	red := func(t string) text.Cell { return text.Cell{Text: t, Style: text.Red} }
	for _, c := range s.Health.Conditions {
		if !c.Up {
			add(red("  "+c.Name+" is down"), text.Of("for "+text.Since(c.Since, v.Now)+": "+c.Cause))
			add(text.Of("    works: " + c.Works))
			add(text.Of("    does not: " + c.Lost))
		}
	}
	for _, d := range s.Degraded {
		add(red("  "+number(d.Instances, "instance", "instances")), text.Of(d.Mode))
	}
	for _, part := range slices.Sorted(maps.Keys(s.Missing)) {
		add(red("  unknown: "+part), text.Of(s.Missing[part].Message))
	}
	if n := s.Health.Unwritten; n > 0 {
		add(red("  "+number(n, "result", "results")+" not stored"),
			text.Of("since "+text.Since(s.Health.UnwrittenSince, v.Now)))
	}
	return lines
}

func (s *topState) queues(v *view, order queueOrder) section {
	t := &text.Table{Columns: []text.Column{
		{Title: "QUEUE", Cut: true}, {Title: "WAITING", Right: true}, {Title: "RUNNING", Right: true},
		{Title: "SLOTS", Right: true}, {Title: "RETRYING", Right: true}, {Title: "OLDEST", Right: true},
		{Title: "WORKERS", Right: true}, {Title: "STATE", Cut: true},
	}}
	sorted := slices.Clone(s.Queues)
	slices.SortStableFunc(sorted, func(a, b af.QueueInfo) int {
		return cmp.Or(order.compare(&a, &b), cmp.Compare(a.Name, b.Name))
	})
	for i := range sorted {
		q := &sorted[i]
		state, style := queueState(*q)
		t.Add(text.Of(q.Name), text.Of(text.Count(waiting(*q))), text.Of(text.Number(int64(running(q)))),
			text.Of(text.Number(int64(q.Slots))), text.Of(text.Count(q.Counts[af.StatusRetrying])),
			text.Of(text.Since(q.Oldest, v.Now)), text.Of(text.Number(int64(q.Workers))), text.Cell{Text: state, Style: style})
	}
	return section{t, len(sorted)}
}

func (s *topState) running(v *view) section {
	t := &text.Table{Columns: []text.Column{
		{Title: "RUNNING TASK"}, {Title: "QUEUE", Cut: true}, {Title: "WHERE"}, {Title: "FOR", Right: true},
		{Title: "ATTEMPT", Right: true}, {Title: "PROGRESS", Cut: true},
	}}
	for i := range s.Running {
		k := &s.Running[i]
		progress := text.Of(jsonText(k.Progress))
		if k.Stopping {
			progress = text.Cell{Text: "stopping", Style: text.Yellow}
		}
		t.Add(text.Of(k.ID), text.Of(k.Queue), text.Of(k.IP), text.Of(text.Since(k.Started, v.Now)),
			text.Of(fmt.Sprint(k.Attempt)), progress)
	}
	return section{t, max(s.RunningTotal.N, len(s.Running))}
}

func (s *topState) failures(v *view) section {
	t := &text.Table{Columns: []text.Column{
		{Title: "FAILURE"}, {Title: "IN 1H", Right: true}, {Title: "LAST", Right: true}, {Title: "QUEUE", Cut: true},
		{Title: "TASK"}, {Title: "ERROR", Cut: true},
	}}
	for i := range s.Failures {
		f := &s.Failures[i]
		last := []text.Cell{text.Of("-"), text.Of("-"), text.Of("-"), text.Of("")}
		if k := f.Last; k != nil {
			last = []text.Cell{text.Of(text.Since(k.Ended, v.Now)), text.Of(k.Queue), text.Of(k.ID), text.Of(k.Error.Message)}
		}
		t.Add(append([]text.Cell{{Text: string(f.Code), Style: text.Red}, text.Of(text.Number(f.Count))}, last...)...)
	}
	return section{t, len(s.Failures)}
}
