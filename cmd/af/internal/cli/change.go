package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// A taskChange is a kind of change that a command makes to the tasks with some ids, or to all that match a filter.
type taskChange struct {
	verb, doing, done string // such as retry, retrying and retried
	// statuses are those of the tasks that -where selects, if the filter has neither a status nor a code.
	statuses []af.Status
	// one changes a task. Of the result it sets what is known of Retry and Status.
	one func(ctx context.Context, api admin.API, id string, a admin.Action) (changedTask, error)
	// many changes the tasks on a page.
	many func(ctx context.Context, api admin.API, q af.TaskQuery, a admin.Action) (admin.BulkResult, error)
}

// changeFlags are the flags of a command that changes tasks.
type changeFlags struct {
	where, cursor, reason string
	dryRun, yes           bool
}

func (c *invocation) retryCommand() *cobra.Command {
	var payload string
	var replace bool
	ch := taskChange{
		verb: "retry", doing: "retrying", done: "retried", statuses: []af.Status{af.StatusFailed, af.StatusStopped},
		many: bulkOf(admin.API.RetryTasks),
	}
	cmd := &cobra.Command{
		Use: "retry ID... | -where FILTER", Short: "Run tasks that have ended again, as new tasks",
		Long: `Retry submits tasks that have ended again, each as a new task with the same payload, and prints
the new ids. A task is retried once: repeating the command prints the same id. To run it once
more, retry the new task.

-where selects failed and stopped tasks, unless FILTER has a status: see af help filter.`,
		Example: `  af retry 7N4QK2
  af retry 7N4QK2 -payload '{"size": 100}' -replace
  af retry -where 'queue:resize code:unavailable since:2h' -reason 'the disk was full'`,
	}
	c.changes(cmd, &ch, func(cmd *cobra.Command, ids []string) error {
		if len(ids) != 1 && (replace || payload != "") {
			return errors.New("-payload and -replace need exactly one id")
		}
		var raw json.RawMessage
		if payload != "" {
			var err error
			if raw, err = c.readJSON(cmd.Context(), "the payload", payload); err != nil {
				return err
			}
		}
		ch.one = func(ctx context.Context, api admin.API, id string, a admin.Action) (t changedTask, err error) {
			t.Retry, err = api.Retry(ctx, admin.Retry{ID: id, Payload: raw, Replace: replace}, a)
			return t, err
		}
		return nil
	})
	cmd.Flags().StringVar(&payload, "payload", "", "with another payload: `JSON`, @file, or - for the standard input")
	cmd.Flags().BoolVar(&replace, "replace", false, "delete the old task once the new one is stored")
	return cmd
}

func (c *invocation) stopCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "stop ID... | -where FILTER", Short: "Stop tasks and their subtasks",
		Long: `Stop stops tasks with all of their subtasks. Those that wait never run. Of those that run, the
contexts are cancelled: af ps shows the ones that have not returned yet.

-where selects tasks that have not ended, unless FILTER has a status: see af help filter.`,
		Example: `  af stop 7N4QK2 -reason 'wrong customer'
  af stop -where 'queue:mail payload.campaign=7' -dry-run`,
	}
	return c.changes(cmd, &taskChange{
		verb: "stop", doing: "stopping", done: "stopped", statuses: liveStatuses,
		one:  stopTask,
		many: bulkOf(admin.API.StopTasks),
	}, nil)
}

func (c *invocation) deleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete ID... | -where FILTER", Short: "Delete tasks that have ended",
		Long: `Delete deletes tasks that have ended, with their subtasks. A subtask is deleted with the task at
the top of its tree only.

-where selects tasks that have ended, unless FILTER has a status: see af help filter.`,
		Example: `  af delete 7N4QK2
  af delete -where 'queue:mail status:success before:720h' -yes`,
	}
	return c.changes(cmd, &taskChange{
		verb: "delete", doing: "deleting", done: "deleted",
		statuses: []af.Status{af.StatusSuccess, af.StatusFailed, af.StatusStopped},
		one: func(ctx context.Context, api admin.API, id string, a admin.Action) (changedTask, error) {
			// Deleting a task that does not exist has no effect and no error, so a misspelled id would look deleted.
			if err := api.Stop(ctx, id, admin.Action{DryRun: true}); af.CodeOf(err) == af.ErrNotFound {
				return changedTask{}, err
			}
			return changedTask{}, api.Delete(ctx, id, a)
		},
		many: bulkOf(admin.API.DeleteTasks),
	}, nil)
}

func (c *invocation) runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run ID... | -where FILTER", Short: "Make tasks that wait for their time due now",
		Long: `Run makes tasks due that wait for their time, or for their next attempt. They run as soon as a
worker is free: af why ID tells what else they wait for.

-where selects tasks that wait, unless FILTER has a status: see af help filter.`,
		Example: `  af run 7N4QK2
  af run -where 'queue:mail status:retrying' -reason 'the mail server is back'`,
	}
	return c.changes(cmd, &taskChange{
		verb: "run", doing: "making due", done: "made due", statuses: waitingStatuses,
		one: func(ctx context.Context, api admin.API, id string, a admin.Action) (changedTask, error) {
			return changedTask{}, api.RunNow(ctx, id, a)
		},
		many: runPage,
	}, nil)
}

// stopTask stops a task, and reads its status afterwards: stopping one that has ended has no effect and no error, and a
// handler may need time to return.
func stopTask(ctx context.Context, api admin.API, id string, a admin.Action) (t changedTask, err error) {
	if err = api.Stop(ctx, id, a); err != nil || a.DryRun {
		return t, err
	}
	if after, err := api.Task(ctx, id); err == nil { // the task is stopped even if it can't be read
		t.Status = after.Status
	}
	return t, nil
}

var (
	waitingStatuses = []af.Status{af.StatusWaiting, af.StatusPending, af.StatusRetrying}
	liveStatuses    = append(waitingStatuses[:3:3], af.StatusRunning)
)

// bulkOf returns a bulk change of the API as the function of a taskChange.
func bulkOf(
	change func(admin.API, context.Context, af.TaskQuery, admin.Action) (admin.BulkResult, error),
) func(context.Context, admin.API, af.TaskQuery, admin.Action) (admin.BulkResult, error) {
	return func(ctx context.Context, api admin.API, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
		return change(api, ctx, q, a)
	}
}

// changes adds the flags of a change to a command, and its body. prepare, if not nil, checks the command's own flags.
func (c *invocation) changes(
	cmd *cobra.Command, ch *taskChange, prepare func(cmd *cobra.Command, ids []string) error,
) *cobra.Command {
	var f changeFlags
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.where, "where", "", "all tasks that match this `filter`, instead of ids")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only show what would change")
	fs.BoolVar(&f.yes, "yes", false, "do not ask")
	fs.StringVar(&f.reason, "reason", "", "`why`: kept in the audit log")
	fs.StringVar(&f.cursor, "cursor", "", "continue after an interruption, which printed this `cursor`")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		switch where := fs.Changed("where"); {
		case where && len(ids) > 0:
			return errors.New("ids and -where can't be combined")
		case !where && len(ids) == 0:
			return fmt.Errorf("which tasks? Give ids, or -where 'FILTER': see af %s -help", ch.verb)
		case !where && f.cursor != "":
			return errors.New("-cursor needs -where")
		}
		if prepare != nil {
			if err := prepare(cmd, ids); err != nil {
				return err
			}
		}
		if len(ids) > 0 {
			return c.changeEach(cmd.Context(), ch, ids, c.action(f.reason, f.dryRun))
		}
		return c.changeWhere(cmd.Context(), ch, f)
	}
	return cmd
}

// changeReport is what the change of tasks by ids prints with -o json.
type changeReport struct {
	DryRun bool          `json:"dry_run,omitempty"`
	Tasks  []changedTask `json:"tasks"`
}

type changedTask struct {
	ID     string       `json:"id"`
	Retry  string       `json:"retry,omitempty"`  // the id of the new task
	Status af.Status    `json:"status,omitempty"` // after af stop
	Error  *changeError `json:"error,omitempty"`
}

type changeError struct {
	Code    af.Code `json:"code"`
	Message string  `json:"message"`
	// Unknown is set if the answer was lost, so that the change may have been made.
	Unknown bool `json:"unknown,omitempty"`
}

// changeEach changes the tasks with some ids, one after the other. A task that can't be changed fails alone, unless the
// user may not change any.
func (c *invocation) changeEach(ctx context.Context, ch *taskChange, ids []string, a admin.Action) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	report := changeReport{DryRun: a.DryRun}
	unavailable := 0
	for _, id := range ids {
		done, err := ch.one(ctx, api, id, a)
		if !isAllowed(err) || err != nil && len(ids) == 1 && !c.json() {
			return c.changed(err, shell("af get", id)+" shows the task")
		}
		done.ID = id
		if err != nil {
			done.Error = &changeError{Code: af.CodeOf(err), Message: err.Error(), Unknown: maybeDone(err)}
			c.code = exitProblem
			if exitCode(err) == exitUnavailable {
				unavailable++
			}
		}
		report.Tasks = append(report.Tasks, done)
		c.sayChanged(ch, done, a.DryRun)
		if ctx.Err() != nil {
			c.note("interrupted: %d of %d tasks were not tried", len(ids)-len(report.Tasks), len(ids))
			break
		}
	}
	if unavailable == len(ids) {
		c.code = exitUnavailable
	}
	if c.json() {
		return errors.Join(c.printJSON(report), ctx.Err())
	}
	return ctx.Err()
}

// sayChanged prints the result of changing a task.
func (c *invocation) sayChanged(ch *taskChange, t changedTask, dryRun bool) {
	switch {
	case t.Error != nil && t.Error.Unknown:
		c.note("%s: %s: the answer was lost, so it may be %s: %s shows it", t.ID, t.Error.Message, ch.done,
			shell("af get", t.ID))
	case t.Error != nil:
		c.note("%s: %s", t.ID, t.Error.Message)
	case c.json():
	case dryRun:
		c.sayf("%s would be %s", t.ID, ch.done)
	case t.Retry != "":
		c.sayf("%s %s as %s", t.ID, ch.done, t.Retry)
	case t.Status != "" && !t.Status.Final():
		c.sayf("%s is being stopped; it is still %s", t.ID, t.Status)
	case t.Status != "" && t.Status != af.StatusStopped:
		c.sayf("%s had ended: %s", t.ID, t.Status)
	default:
		c.sayf("%s %s", t.ID, ch.done)
	}
}
