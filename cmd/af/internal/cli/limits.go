package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/internal/suggest"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// pauseReport is what af pause and af resume print with -o json.
type pauseReport struct {
	Queue  string `json:"queue"`
	Paused bool   `json:"paused"`
}

func (c *invocation) pauseCommand() *cobra.Command {
	var reason string
	var create bool
	cmd := &cobra.Command{
		Use: "pause QUEUE", Short: "Pause a queue",
		Long: `Pause stops all instances from starting tasks of a queue, until af resume. Tasks that run finish,
and tasks can be submitted. A pause survives restarts.`,
		Example: `  af pause mail -reason 'the mail server is down'`,
		Args:    oneQueue,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.pause(cmd.Context(), args[0], reason, create)
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`why`: kept with the pause and in the audit log")
	cmd.Flags().BoolVar(&create, "create", false, "also if the queue is unknown, such as one of the next deployment")
	return cmd
}

func (c *invocation) resumeCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "resume QUEUE", Short: "Resume a queue",
		Long:    "Resume ends the pause of a queue. Its limits, as of af max, apply again.",
		Example: `  af resume mail -reason 'the mail server is back'`,
		Args:    oneQueue,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return c.resume(cmd.Context(), args[0], reason) }
	cmd.Flags().StringVar(&reason, "reason", "", "`why`: kept in the audit log")
	return cmd
}

// oneQueue checks the arguments of commands that change a queue.
func oneQueue(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one QUEUE, not %d arguments: af queues lists the queues", len(args))
	}
	return nil
}

func (c *invocation) pause(ctx context.Context, queue, reason string, create bool) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	before := queueOf(ctx, api, queue)
	a := c.action(reason, false)
	a.Create = create
	if err := api.Pause(ctx, queue, a); err != nil {
		return c.limitFailed(ctx, api, queue, err)
	}
	switch l := before.Limits; {
	case c.json():
		return c.printJSON(pauseReport{queue, true})
	case l.Paused:
		c.sayf("%s was paused already%s", queue, c.changedBy(l))
	case before.Running > 0:
		c.sayf("%s is paused; %s", queue, stillRun(before.Running))
	default:
		c.sayf("%s is paused", queue)
	}
	return nil
}

// stillRun returns "1 task still runs" or "3 tasks still run".
func stillRun(n int) string {
	if n == 1 {
		return "1 task still runs"
	}
	return tasksOf(n, false) + " still run"
}

func (c *invocation) resume(ctx context.Context, queue, reason string) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	before := queueOf(ctx, api, queue)
	if before.Name == "" { // resuming an unknown queue has no effect and no error
		if err := c.checkQueue(ctx, api, queue); err != nil {
			return err
		}
	}
	if err := api.Resume(ctx, queue, c.action(reason, false)); err != nil {
		return c.limitFailed(ctx, api, queue, err)
	}
	switch {
	case c.json():
		return c.printJSON(pauseReport{queue, false})
	case before.Name != "" && !before.Limits.Paused:
		c.sayf("%s was not paused", queue)
	default:
		c.sayf("%s is resumed", queue)
	}
	return nil
}

// queueOf returns a queue, or the zero QueueInfo if it is not listed, or the list can't be read.
func queueOf(ctx context.Context, api admin.API, name string) af.QueueInfo {
	queues, err := api.Queues(ctx)
	if i := slices.IndexFunc(queues, func(q af.QueueInfo) bool { return q.Name == name }); err == nil && i >= 0 {
		return queues[i]
	}
	return af.QueueInfo{}
}

// checkQueue returns an error if a queue is unknown. It returns nil if the queues can't be read.
func (c *invocation) checkQueue(ctx context.Context, api admin.API, name string) error {
	queues, err := api.Queues(ctx)
	if err != nil {
		return nil //nolint:nilerr // the change itself reports what is wrong
	}
	names := make([]string, len(queues))
	for i := range queues {
		if names[i] = queues[i].Name; names[i] == name {
			return nil
		}
	}
	hint := "; af queues lists the queues"
	if near, ok := suggest.Nearest(name, names); ok {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	return af.Errorf(af.ErrNotFound, "unknown queue %q%s", name, hint)
}

// limitFailed returns the error of a change of a queue.
func (c *invocation) limitFailed(ctx context.Context, api admin.API, queue string, err error) error {
	if af.CodeOf(err) != af.ErrNotFound {
		return c.changed(err, shell("af max", queue)+" shows its limits")
	}
	if unknown := c.checkQueue(ctx, api, queue); unknown != nil {
		err = unknown
	}
	return fmt.Errorf("%w (-create changes it anyway)", err)
}

// changedBy returns who has changed limits last, and when and why, as the end of a sentence.
func (c *invocation) changedBy(l af.Limits) string {
	s := ""
	if l.By != "" {
		s += " by " + l.By
	}
	if !l.Changed.IsZero() {
		s += ", " + text.Since(l.Changed, c.Now()) + " ago"
	}
	if l.Reason != "" {
		s += ": " + l.Reason
	}
	return s
}

// limitReport is what af max QUEUE prints with -o json.
type limitReport struct {
	Queue   string          `json:"queue"`
	Limits  af.Limits       `json:"limits"`
	Workers []af.WorkerInfo `json:"workers"`
}

// maxReport is what a change of a limit prints with -o json.
type maxReport struct {
	Queue string `json:"queue"`
	IP    string `json:"ip,omitempty"`
	Max   *int   `json:"max,omitempty"` // missing if the limit was removed
}

func (c *invocation) maxCommand() *cobra.Command {
	var l admin.Limit
	var reason string
	var reset bool
	cmd := &cobra.Command{
		Use: "max QUEUE [N]", Short: "Show or set how many tasks of a queue each instance runs",
		Long: `Max limits how many tasks of a queue each instance runs at once. 0 stops instances from starting
any. Tasks that run are not stopped. A limit survives restarts, and instances that start later apply
it, too. -reset removes it: the worker's own maximum applies again.

Without N and -reset it shows the limit of each instance, and the one that the instance applies now.`,
		Example: `  af max resize
  af max resize 4 -reason 'the disk is slow'
  af max resize 0 -ip 10.0.0.7
  af max resize -reset`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return errors.New("want QUEUE and, to set a limit, N: af queues lists the queues")
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&l.IP, "ip", "", "only instances with this `address`")
	fs.BoolVar(&reset, "reset", false, "remove the limit; without -ip, all limits of the queue")
	fs.BoolVar(&l.Create, "create", false, "also if the queue or the address is unknown")
	fs.StringVar(&reason, "reason", "", "`why`: kept with the limit and in the audit log")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		l.Queue = args[0]
		switch {
		case reset && len(args) > 1:
			return errors.New("-reset removes the limit, so it takes no N")
		case reset:
			return c.resetMax(ctx, l, reason)
		case len(args) == 1 && (l.Create || reason != ""):
			return errors.New("want N, the limit to set, or -reset")
		case len(args) == 1:
			return c.showMax(ctx, l)
		}
		n, err := strconv.Atoi(args[1])
		if err != nil || n < 0 {
			return fmt.Errorf("limit %q: want a number of tasks, 0 for none", args[1])
		}
		l.Max = n
		return c.setMax(ctx, l, reason)
	}
	return cmd
}

func (c *invocation) setMax(ctx context.Context, l admin.Limit, reason string) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	if err := api.SetMax(ctx, l, c.action(reason, false)); err != nil {
		return c.limitFailed(ctx, api, l.Queue, err)
	}
	if c.json() {
		return c.printJSON(maxReport{l.Queue, l.IP, &l.Max})
	}
	c.sayf("%s: at most %s on each instance%s", l.Queue, tasksOf(l.Max, false), atIP(l.IP))
	return nil
}

func (c *invocation) resetMax(ctx context.Context, l admin.Limit, reason string) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	if err := c.checkQueue(ctx, api, l.Queue); err != nil { // resetting an unknown queue has no effect and no error
		return err
	}
	if err := api.ResetMax(ctx, l.Queue, l.IP, c.action(reason, false)); err != nil {
		return c.limitFailed(ctx, api, l.Queue, err)
	}
	if c.json() {
		return c.printJSON(maxReport{Queue: l.Queue, IP: l.IP})
	}
	c.sayf("%s: no limit%s but the worker's own", l.Queue, atIP(l.IP))
	return nil
}

// atIP returns " at" an address, or "".
func atIP(ip string) string {
	if ip == "" {
		return ""
	}
	return " at " + ip
}

// showMax prints the limits of a queue, as they are set and as each instance applies them.
func (c *invocation) showMax(ctx context.Context, l admin.Limit) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	if err := c.checkQueue(ctx, api, l.Queue); err != nil {
		return err
	}
	report := limitReport{Queue: l.Queue, Limits: queueOf(ctx, api, l.Queue).Limits, Workers: []af.WorkerInfo{}}
	for q := (af.WorkerQuery{Queue: l.Queue, IP: l.IP, Limit: 1000, NoWaiting: true}); ; {
		page, err := api.Workers(ctx, q)
		if err != nil {
			return err
		}
		report.Workers = append(report.Workers, page.Workers...)
		if q.Cursor = page.Cursor; q.Cursor == "" {
			break
		}
	}
	if c.json() {
		return c.printJSON(report)
	}
	c.sayf("%s", c.limitLine(l.Queue, report.Limits))
	if len(report.Workers) == 0 {
		c.note("no worker of queue %q is running%s", l.Queue, atIP(l.IP))
		return nil
	}
	t := c.table(text.Column{Title: "INSTANCE"}, text.Column{Title: "IP"}, text.Column{Title: "WANTED", Right: true},
		text.Column{Title: "APPLIED", Right: true}, text.Column{Title: "OWN", Right: true},
		text.Column{Title: "RUNNING", Right: true}, text.Column{Title: "STATE", Cut: true})
	number := func(n int) text.Cell { return text.Of(text.Number(int64(n))) }
	for i := range report.Workers {
		w := &report.Workers[i]
		applied := number(w.Applied)
		if w.Applied != w.Wanted {
			applied.Style = text.Yellow
		}
		t.Add(text.Of(w.Instance.ID), text.Of(w.Instance.IP), number(w.Wanted), applied, number(w.Own), number(w.Running),
			workerState(w))
	}
	return t.Print(&c.Out)
}

// limitLine describes the limits of a queue.
func (c *invocation) limitLine(queue string, l af.Limits) string {
	s := queue + ": "
	switch {
	case l.Paused:
		s += "paused"
	case l.Max != nil:
		s += fmt.Sprintf("at most %s on each instance", tasksOf(*l.Max, false))
	case len(l.At) > 0:
		s += fmt.Sprintf("limits at %d addresses", len(l.At))
	default:
		return s + "no limit but the worker's own"
	}
	return s + c.changedBy(l)
}

// workerState returns why a worker does not claim tasks, or "".
func workerState(w *af.WorkerInfo) text.Cell {
	switch {
	case w.Draining:
		return text.Cell{Text: "draining", Style: text.Yellow}
	case w.Paused:
		return text.Cell{Text: "paused", Style: text.Yellow}
	case w.Refusal != "":
		return text.Cell{Text: w.Refusal, Style: text.Red}
	case w.Abandoned > 0:
		return text.Cell{Text: fmt.Sprintf("%d abandoned", w.Abandoned), Style: text.Yellow}
	}
	return text.Cell{}
}
