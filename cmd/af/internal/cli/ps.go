package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

const psBytes = 4 << 20 // of a page of tasks

func (c *invocation) psCommand() *cobra.Command {
	var limit int
	var watch bool
	cmd := &cobra.Command{
		Use: "ps [QUEUE]", Short: "List running tasks: where, how long, progress", Args: cobra.MaximumNArgs(1),
		Long: `Ps lists the tasks that run now, the longest running first.

RUNNING is since the start of the attempt, WHERE the address of the instance; -o wide has its id.
STATE shows tasks that were requested to stop but still run, and those that may have killed a process
before (suspect). -o json has tasks without payloads and logs.`,
		Example: `  af ps
  af ps resize -w                     redrawn each second, until q is pressed
  af why ID                           what a task does there`,
		RunE: func(cmd *cobra.Command, args []string) error {
			queue := ""
			if len(args) == 1 {
				queue = args[0]
			}
			switch {
			case watch && c.json():
				return errors.New("-w redraws a table; for -o json, repeat the command, or use af top -o json")
			case watch && !c.live():
				return errors.New("-w needs a terminal to redraw")
			}
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			read := func(ctx context.Context) (af.TaskPage, error) { return runningTasks(ctx, api, queue, limit) }
			if watch {
				page := livePage[af.TaskPage]{kinds: []admin.Kind{admin.KindTasks, admin.KindQueues}, read: read,
					lines: c.psLines}
				return page.run(cmd.Context(), c, api)
			}
			page, err := read(cmd.Context())
			if err != nil {
				return err
			}
			return c.printList(listResult{page, len(page.Tasks), page.Total, page.Total > len(page.Tasks), "no task is running"},
				c.taskTable(page.Tasks))
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "redraw the list each second")
	addLimit(cmd, &limit, listLimit)
	return cmd
}

// runningTasks returns the running tasks of a queue, or of all, longest running first. It has at most limit, those that
// were submitted first, and nothing of them that is large but their progress.
func runningTasks(ctx context.Context, api admin.Reader, queue string, limit int) (all af.TaskPage, err error) {
	q := af.TaskQuery{Queue: queue, Statuses: []af.Status{af.StatusRunning}, Sort: af.TasksByOldest, Bytes: psBytes}
	all.Tasks, _, err = collect(limit, func(n int, cursor string) ([]af.Task, string, error) {
		q.Limit, q.Cursor = n, cursor
		page, err := api.Tasks(ctx, q)
		if cursor == "" {
			all.Total, all.AtLeast = page.Total, page.AtLeast
		}
		return heads(page.Tasks), page.Cursor, err
	})
	all.Total = max(all.Total, len(all.Tasks))
	slices.SortStableFunc(all.Tasks, func(a, b af.Task) int { return a.Started.Compare(b.Started) })
	return all, err
}

// heads returns tasks without what is large, but with progress.
func heads(tasks []af.Task) []af.Task {
	short := make([]af.Task, len(tasks))
	for i := range tasks {
		short[i] = tasks[i].Head()
		short[i].Progress, short[i].Progressed = tasks[i].Progress, tasks[i].Progressed
	}
	return short
}

// taskTable returns a table of running tasks.
func (c *invocation) taskTable(tasks []af.Task) *text.Table {
	t := c.table(
		text.Column{Title: "ID"}, text.Column{Title: "QUEUE", Cut: true}, text.Column{Title: "WHERE"},
		text.Column{Title: "INSTANCE", Wide: true}, text.Column{Title: "RUNNING", Right: true},
		text.Column{Title: "STARTED", Wide: true}, text.Column{Title: "ATTEMPT", Right: true},
		text.Column{Title: "WEIGHT", Right: true, Wide: true}, text.Column{Title: "SOURCE", Wide: true},
		text.Column{Title: "PROGRESS", Cut: true}, text.Column{Title: "REPORTED", Right: true, Wide: true},
		text.Column{Title: "STATE"},
	)
	for i := range tasks {
		k := &tasks[i]
		state := text.Cell{}
		switch {
		case k.Stopping:
			state = text.Cell{Text: "stopping", Style: text.Yellow}
		case k.Suspect != nil:
			state = text.Cell{Text: "suspect", Style: text.Red}
		}
		t.Add(text.Of(k.ID), text.Of(k.Queue), text.Of(k.IP), text.Of(k.Instance), text.Of(text.Since(k.Started, c.Now())),
			text.Of(text.Time(k.Started)), text.Of(fmt.Sprint(k.Attempt)), text.Of(fmt.Sprint(k.Weight)),
			text.Of(k.Source), text.Of(jsonText(k.Progress)), text.Of(text.Since(k.Progressed, c.Now())), state)
	}
	return t
}

// psLines returns the page of af ps -w.
func (c *invocation) psLines(page af.TaskPage, v *view) []string {
	head := text.Of(number(page.Total, "task runs", "tasks run"))
	if page.AtLeast {
		head.Text = "≥ " + head.Text
	}
	lines := []string{text.Line(&v.Printer, append([]text.Cell{head}, v.status()...)...), ""}
	t := c.taskTable(page.Tasks)
	rows := max(v.Height-len(lines)-2, 1) // without the titles, and the line below
	more := page.Total - min(len(t.Rows), rows)
	t.Rows = t.Rows[:min(len(t.Rows), rows)]
	lines = append(lines, t.Lines(&v.Printer)...)
	if more > 0 {
		lines = append(lines, v.more(more))
	}
	return lines
}

// more returns a line that tells how many rows are not shown.
func (v *view) more(n int) string {
	return text.Line(&v.Printer, text.Cell{Text: "… " + text.Number(int64(n)) + " more", Style: text.Dim})
}

// status returns what a person must know of a view: its time, and that it is paused or old.
func (v *view) status() []text.Cell {
	cells := []text.Cell{{Text: v.Now.Format("15:04:05"), Style: text.Dim}}
	if v.Paused {
		cells = append(cells, text.Cell{Text: "PAUSED", Style: text.Yellow})
	}
	if v.Err != nil {
		cells = append(cells, text.Cell{Text: "not refreshed: " + messageOf(v.Err), Style: text.Red})
	}
	return cells
}
