package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/internal/suggest"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/filter"
)

const (
	lsLimit = 50      // tasks by default
	lsMost  = 1000    // of -limit, and of a page
	lsBytes = 4 << 20 // of a page: tables show no payloads
)

// A listing is the flags of af ls.
type listing struct {
	since, before, sort, cursor string
	limit                       int
	all                         bool
}

func (c *invocation) lsCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use: "ls [TERM...]", Short: "List tasks",
		Long: `Ls lists the tasks that match all terms of a filter, newest first; without terms, all tasks.
af help filter describes filters. -since, -before and -sort are terms as well.

A table shows the first tasks, and tells on standard error whether there are more. -o wide adds
weights, instances and due times. -o json prints one page, as the API returns it: {"tasks": [...],
"total": n, "cursor": "..."}; with -all it prints one task a line.

The exit code is 1 if no task matches.`,
		Example: `  af ls queue:resize status:failed -since 1h
  af ls status:failed text:"disk full" -sort ended
  af ls queue:mail payload.user.id=7 -all -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.limit < 1 || l.limit > lsMost {
				return fmt.Errorf("-limit %d: want 1 to %d, or -all", l.limit, lsMost)
			}
			if l.all && cmd.Flags().Changed("limit") {
				return fmt.Errorf("use only one of -limit and -all")
			}
			return c.ls(cmd.Context(), args, l)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&l.since, "since", "", "tasks created since a `time`: 30m, 2d, 2026-11-30, 2026-11-30T02:15")
	f.StringVar(&l.before, "before", "", "tasks created before a `time`")
	f.StringVar(&l.sort, "sort", "", "`order`: newest, oldest or ended")
	f.IntVar(&l.limit, "limit", lsLimit, "show at most `N` tasks")
	f.BoolVar(&l.all, "all", false, "show all tasks, page by page")
	f.StringVar(&l.cursor, "cursor", "", "continue where an earlier list has stopped")
	return cmd
}

// query returns the query of a listing.
func (c *invocation) query(terms []string, l listing) (af.TaskQuery, error) {
	terms = slices.Clone(terms)
	for _, t := range []struct{ key, value string }{{"since", l.since}, {"before", l.before}, {"sort", l.sort}} {
		if t.value != "" {
			terms = append(terms, t.key+":"+t.value)
		}
	}
	q, err := filter.Parse(filter.Join(terms), c.Now())
	q.Limit, q.Cursor = l.limit, l.cursor
	if l.all {
		q.Limit = lsMost
	}
	return q, err
}

func (c *invocation) ls(ctx context.Context, terms []string, l listing) error {
	q, err := c.query(terms, l)
	if err != nil {
		return err
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	shown, last := 0, af.TaskPage{}
	switch {
	case c.json() && !l.all:
		if last, err = api.Tasks(ctx, q); err != nil {
			return err
		}
		if shown = len(last.Tasks); shown == 0 {
			last.Tasks = []af.Task{} // [] in JSON
		}
		err = c.printJSON(last)
	case c.json():
		shown, last, err = c.lsLines(ctx, api, q)
	default:
		shown, last, err = c.lsTable(ctx, api, q, l.all)
	}
	if err != nil {
		return err
	}
	if shown == 0 {
		c.code = exitProblem
		c.note("%s", c.nothing(ctx, api, q, &last))
	} else if !c.json() {
		c.noteMore(q, shown, &last)
	}
	return nil
}

// lsLines prints all tasks as JSON, one a line.
func (c *invocation) lsLines(
	ctx context.Context, api admin.API, q af.TaskQuery,
) (shown int, page af.TaskPage, err error) {
	q.Bytes = lsBytes
	for {
		if page, err = api.Tasks(ctx, q); err != nil {
			return shown, page, err
		}
		for i := range page.Tasks {
			if err := c.printLine(&page.Tasks[i]); err != nil {
				return shown, page, err
			}
		}
		shown += len(page.Tasks)
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return shown, page, nil
		}
	}
}

// lsTable prints tasks as a table, page by page. Without all, it ends at the query's limit, and at a page that has
// looked at as many tasks as it may.
func (c *invocation) lsTable(
	ctx context.Context, api admin.API, q af.TaskQuery, all bool,
) (shown int, page af.TaskPage, err error) {
	limit := q.Limit
	q.Bytes = lsBytes
	t := c.taskList()
	for {
		if page, err = api.Tasks(ctx, q); err != nil {
			return shown, page, err
		}
		t.Rows = nil
		for i := range page.Tasks {
			c.addTask(t, &page.Tasks[i])
		}
		if len(t.Rows) > 0 {
			lines := t.Lines(&c.Out)
			if shown > 0 {
				lines = lines[1:] // without the titles
			}
			if err := c.print(lines); err != nil {
				return shown, page, err
			}
			keepWidths(t)
		}
		shown += len(page.Tasks)
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return shown, page, nil
		}
		if !all {
			if q.Limit = limit - shown; q.Limit <= 0 || page.Bounded {
				return shown, page, nil
			}
		}
	}
}

// keepWidths makes the columns of the next page at least as wide as those of this one.
func keepWidths(t *text.Table) {
	for i := range t.Columns {
		for _, row := range t.Rows {
			t.Columns[i].Min = max(t.Columns[i].Min, text.Width(text.Clean(row[i].Text)))
		}
	}
}

// taskList returns a table of tasks.
func (c *invocation) taskList() *text.Table {
	return c.table(
		text.Column{Title: "ID"}, text.Column{Title: "QUEUE", Cut: true}, text.Column{Title: "STATUS"},
		text.Column{Title: "AGE", Right: c.output != "wide"}, text.Column{Title: "ENDED", Right: c.output != "wide"},
		text.Column{Title: "ATTEMPT", Right: true}, text.Column{Title: "WEIGHT", Right: true, Wide: true},
		text.Column{Title: "RUN AT", Wide: true}, text.Column{Title: "INSTANCE", Wide: true},
		text.Column{Title: "ERROR", Cut: true},
	)
}

func (c *invocation) addTask(t *text.Table, task *af.Task) {
	t.Add(text.Of(task.ID), text.Of(task.Queue), statusCell(task.Status), text.Of(c.age(task.Created)),
		text.Of(c.age(task.Ended)), text.Of(attemptOf(task)), text.Of(text.Number(int64(task.Weight))),
		text.Of(c.age(task.RunAt)), text.Of(task.Instance), text.Of(errorOf(task.Error)))
}

func statusCell(s af.Status) text.Cell { return text.Cell{Text: string(s), Style: text.StatusStyle(s)} }

// attemptOf returns the number of attempts that were charged, and of those that are made at most, if that is known.
func attemptOf(t *af.Task) string {
	n := text.Number(int64(t.Attempt))
	if t.Retries != nil {
		n += "/" + text.Number(int64(*t.Retries)+1)
	}
	return n
}

func errorOf(e *af.TaskError) string {
	if e == nil {
		return ""
	}
	return string(e.Code) + ": " + e.Message
}

// noteMore tells that there are more tasks than those that were shown, and how to see them.
func (c *invocation) noteMore(q af.TaskQuery, shown int, last *af.TaskPage) {
	n := text.Number(int64(shown))
	switch {
	case last.Cursor == "":
	case last.Bounded:
		c.note("%s shown; %s", n, c.lookedAt(q, last))
	case !q.Filter.IsZero(): // the total is that of the page
		c.note("%s shown; there may be more: -limit or -all shows them", n)
	default:
		c.note("%s of %s; -limit or -all shows more", n, text.Count(af.Count{N: last.Total, AtLeast: last.AtLeast}))
	}
}

// lookedAt tells how far a page has looked that could not look at all tasks.
func (c *invocation) lookedAt(q af.TaskQuery, page *af.TaskPage) string {
	direction := "back to"
	if q.Sort == af.TasksByOldest {
		direction = "up to"
	}
	return fmt.Sprintf("looked at %s tasks, %s %s; -all looks at all, and -cursor %s continues",
		text.Number(int64(page.Looked)), direction, c.when(page.LookedTo), page.Cursor)
}

// nothing tells why no task was found, and what to do.
func (c *invocation) nothing(ctx context.Context, api admin.API, q af.TaskQuery, last *af.TaskPage) string {
	line := filter.Format(q)
	switch {
	case last.Bounded:
		return "no task found yet: " + c.lookedAt(q, last)
	case line == "":
		return "there are no tasks; af queues lists the queues, and af submit adds a task"
	case q.Queue == "":
		return "no task matches " + line
	}
	queues, err := api.Queues(ctx)
	names := make([]string, len(queues))
	for i := range queues {
		names[i] = queues[i].Name
	}
	if err != nil || slices.Contains(names, q.Queue) { // without the list, the answer is still right
		return "no task matches " + line
	}
	if near, ok := suggest.Nearest(q.Queue, names); ok {
		return fmt.Sprintf("no queue is named %s; did you mean %s?", q.Queue, near)
	}
	return fmt.Sprintf("no queue is named %s; af queues lists the queues", q.Queue)
}
