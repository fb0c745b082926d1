package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// What af get shows of a payload, result or progress without -full.
const (
	getLines  = 40
	getColumn = 400 // of a line
)

func (c *invocation) getCommand() *cobra.Command {
	full := false
	cmd := &cobra.Command{
		Use: "get ID", Short: "Show a task", Args: cobra.ExactArgs(1),
		Long: `Get shows a task: why it is in its state, its times, attempts, subtasks, payload, result and progress.

Times are in the local zone. JSON is cut after 40 lines; -full shows all of it. af logs shows the log.
-o wide also shows the traces of attempts, if their Apps have OpenTelemetry or another instrument.
-o json prints the task as the API returns it, with "children" (subtasks by status), "ahead" and "why".

The exit code is 1 if there is no such task.`,
		Example: `  af get ID
  af get ID -full
  af get ID -o json | jq .payload`,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			t, err := api.Task(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.json() {
				return c.printJSON(t)
			}
			return c.printTask(&t, full)
		},
	}
	cmd.Flags().BoolVar(&full, "full", false, "show JSON and messages in full")
	return cmd
}

// printTask prints the document of a task.
func (c *invocation) printTask(t *admin.Task, full bool) error {
	lines := []string{c.Out.Styled(text.Dim, "Task ") + text.Clean(t.ID) + c.Out.Styled(text.Dim, " in queue ") +
		text.Clean(t.Queue) + c.Out.Styled(text.Dim, " is ") +
		c.Out.Styled(text.StatusStyle(t.Status), text.Clean(string(t.Status)))}
	if t.Why != nil {
		lines = append(append(lines, ""), c.answer(t.Why, 0)...)
	}
	lines = append(append(lines, ""), c.taskDetails(t).lines(&c.Out, 0)...)
	if len(t.Attempts) > 0 {
		lines = append(lines, "", c.Out.Styled(text.Bold, "Attempts"))
		lines = append(lines, c.attempts(t, full).Lines(&c.Out)...)
	}
	if err := c.print(lines); err != nil {
		return err
	}
	if t.Redacted {
		return c.print([]string{"", "The payload, the result, progress, the log and metadata are not shown: " +
			"you do not have the right \"payloads\"."})
	}
	for _, s := range []struct {
		title string
		value []byte
	}{{"Payload", t.Payload}, {"Result", t.Result}, {"Progress", t.Progress}} {
		if err := c.printValue(s.title, s.value, full); err != nil {
			return err
		}
	}
	return nil
}

// taskDetails returns the fields of a task.
func (c *invocation) taskDetails(t *admin.Task) *details {
	var d details
	d.add("created", c.when(t.Created))
	if !t.RunAt.Equal(t.Created) {
		d.add("due", c.when(t.RunAt))
	}
	d.add("started", c.when(t.Started))
	d.add("progress", c.when(t.Progressed))
	d.add("ended", c.when(t.Ended))
	if took := took(&t.Task, c.Now()); took > 0 {
		d.add("took", text.Duration(took))
	}
	d.add("deadline", c.when(t.Deadline))
	if t.Timeout > 0 {
		d.add("timeout", t.Timeout.String())
	}
	d.add("attempt", attemptOf(&t.Task))
	if t.Crashes > 0 || t.Suspect != nil {
		d.styled("crashes", crashesOf(&t.Task), text.Yellow)
	}
	if t.Error != nil {
		d.styled("error", errorOf(t.Error), text.StatusStyle(t.Status))
	}
	if t.Instance != "" {
		d.add("instance", place(t.Instance, t.IP))
	}
	if t.Stopping {
		d.styled("stopping", "requested; the handler has not returned", text.Yellow)
	}
	d.add("weight", text.Number(int64(t.Weight)))
	if t.Ahead != nil {
		d.add("ahead", tasksAhead(*t.Ahead))
	}
	c.addRelations(&d, t)
	d.add("unique key", t.UniqueKey)
	d.add("version", t.Fingerprint)
	if !t.WrongVersionSince.IsZero() {
		d.styled("wrong version", "since "+c.when(t.WrongVersionSince), text.Yellow)
	}
	d.add("allowed", strings.Join(t.Allow, ", "))
	d.add("trace", t.Trace)
	for _, name := range slices.Sorted(maps.Keys(t.Metadata)) {
		d.add("metadata", name+"="+t.Metadata[name])
	}
	if n := len(t.Log); n > 0 {
		d.add("log", fmt.Sprintf("%s lines: %s", text.Number(int64(n)), shell("af logs", t.ID)))
	}
	return &d
}

// addRelations adds the other tasks that a task has to do with.
func (c *invocation) addRelations(d *details, t *admin.Task) {
	d.add("source", t.Source)
	d.add("done of", t.DoneOf)
	d.add("retry of", t.RetryOf)
	d.add("retried by", t.RetriedBy)
	if len(t.Children) == 0 {
		return
	}
	state := ""
	if s := t.Subtasks; s != nil {
		state = "; ended " + c.when(s.Finished)
	}
	d.add("subtasks", counts(t.Children)+state+": "+shell("af tree", t.ID))
}

// counts returns the numbers of tasks by status.
func counts(n map[af.Status]af.Count) string {
	var parts []string
	for _, s := range slices.SortedFunc(maps.Keys(n), byLife) {
		parts = append(parts, text.Count(n[s])+" "+string(s))
	}
	return strings.Join(parts, ", ")
}

// byLife compares statuses by their order in the life of a task.
func byLife(a, b af.Status) int {
	order := []af.Status{af.StatusWaiting, af.StatusPending, af.StatusRunning, af.StatusRetrying, af.StatusSuccess,
		af.StatusFailed, af.StatusStopped}
	return slices.Index(order, a) - slices.Index(order, b)
}

func tasksAhead(n af.Count) string {
	if n.N == 0 && !n.AtLeast {
		return "no task"
	}
	if n.N == 1 && !n.AtLeast {
		return "1 task"
	}
	return text.Count(n) + " tasks"
}

func crashesOf(t *af.Task) string {
	s := text.Number(int64(t.Crashes)) + " charged"
	if t.MaxCrashes > 0 {
		s += " of " + text.Number(int64(t.MaxCrashes))
	}
	if t.Suspect != nil {
		s += fmt.Sprintf("; the last %d processes that ran it have died", t.Suspect.Losses)
	}
	return s
}

// took returns how long the last attempt has taken, or has been running, or 0 if there is none.
func took(t *af.Task, now time.Time) time.Duration {
	switch {
	case t.Started.IsZero():
		return 0
	case !t.Ended.IsZero():
		return t.Ended.Sub(t.Started)
	case t.Status == af.StatusRunning:
		return now.Sub(t.Started)
	}
	return 0
}

// attempts returns the attempts of a task that have ended.
func (c *invocation) attempts(t *admin.Task, full bool) *text.Table {
	table := c.table(
		text.Column{Title: "ATTEMPT", Right: true}, text.Column{Title: "STARTED"}, text.Column{Title: "TOOK", Right: true},
		text.Column{Title: "OUTCOME"}, text.Column{Title: "WHERE", Cut: !full},
		text.Column{Title: "TRACE", Wide: true}, text.Column{Title: "ERROR", Cut: !full},
	)
	for _, a := range t.Attempts {
		style := text.Plain
		switch a.Outcome {
		case af.AttemptSucceeded:
			style = text.Green
		case af.AttemptFailed, af.AttemptLost:
			style = text.Red
		case af.AttemptStopped:
			style = text.Yellow
		}
		message := string(a.Code)
		if a.Message != "" {
			message += ": " + a.Message
		}
		where := a.IP
		if where == "" || c.output == "wide" {
			where = place(a.Instance, a.IP)
		}
		table.Add(text.Of(text.Number(int64(a.Attempt))), text.Of(text.Since(a.Started, c.Now())+" ago"),
			text.Of(text.Duration(a.Ended.Sub(a.Started))), text.Cell{Text: string(a.Outcome), Style: style}, text.Of(where),
			text.Of(a.Trace), text.Of(strings.TrimPrefix(message, ": ")))
	}
	return table
}

// printValue prints JSON below a title, unless it is empty. It prints line by line: indented JSON can be much longer
// than the value.
func (c *invocation) printValue(title string, value []byte, full bool) error {
	if len(value) == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(&c.Out, "\n%s%s\n", c.Out.Styled(text.Bold, title),
		c.Out.Styled(text.Dim, " ("+text.Bytes(uint64(len(value)))+")")); err != nil {
		return err
	}
	n, cut := 0, false
	for line := range text.Lines(value) {
		if !full {
			if n++; n > getLines {
				cut = true
				break
			}
			short := text.Shorten(line, getColumn)
			cut = cut || short != line
			line = short
		}
		if _, err := io.WriteString(&c.Out, line+"\n"); err != nil {
			return err
		}
	}
	if cut {
		return c.print([]string{c.Out.Styled(text.Dim, "… cut; -full shows all")})
	}
	return nil
}
