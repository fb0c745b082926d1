package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/internal/suggest"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// jobReport is what af fire, enable and disable print with -o json.
type jobReport struct {
	Job      string `json:"job"`
	Task     string `json:"task,omitempty"` // of af fire
	Disabled *bool  `json:"disabled,omitempty"`
}

func (c *invocation) fireCommand() *cobra.Command {
	return c.jobCommand("fire", "Run a job now",
		`Fire submits a task of a job now and prints its id, also if the job is disabled or an earlier task
has not ended. The job's due times do not change.`, "  af fire nightly -reason 'the fire of tonight was skipped'",
		func(ctx context.Context, api admin.API, job string, a admin.Action) (jobReport, error) {
			task, err := api.RunJob(ctx, job, a)
			return jobReport{Job: job, Task: task}, err
		})
}

func (c *invocation) enableCommand() *cobra.Command {
	return c.jobCommand("enable", "Enable a job", "Enable lets a job fire at its due times again, from now on.",
		"  af enable nightly",
		func(ctx context.Context, api admin.API, job string, a admin.Action) (jobReport, error) {
			return jobReport{Job: job, Disabled: new(bool)}, api.EnableJob(ctx, job, a)
		})
}

func (c *invocation) disableCommand() *cobra.Command {
	return c.jobCommand("disable", "Disable a job",
		`Disable stops a job from firing, until af enable. Tasks that it has submitted are not stopped. It
stays disabled when programs restart.`, "  af disable nightly -reason 'it fills the disk'",
		func(ctx context.Context, api admin.API, job string, a admin.Action) (jobReport, error) {
			disabled := true
			return jobReport{Job: job, Disabled: &disabled}, api.DisableJob(ctx, job, a)
		})
}

// jobCommand returns a command that changes a job.
func (c *invocation) jobCommand(verb, short, long, example string,
	change func(ctx context.Context, api admin.API, job string, a admin.Action) (jobReport, error),
) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: verb + " JOB", Short: short, Long: long, Example: example,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("want one JOB, not %d arguments: af jobs lists the jobs", len(args))
			}
			return nil
		},
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, job := cmd.Context(), args[0]
		api, err := c.api(ctx)
		if err != nil {
			return err
		}
		report, err := change(ctx, api, job, c.action(reason, false))
		if af.CodeOf(err) == af.ErrNotFound {
			return unknownJob(ctx, api, job, err)
		}
		if err != nil {
			return c.changed(err, shell("af jobs and af fires", job)+" show it")
		}
		switch {
		case c.json():
			return c.printJSON(report)
		case report.Task != "":
			c.sayf("%s fired: task %s", job, report.Task)
		default:
			c.sayf("%s is %sd", job, verb)
		}
		return nil
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`why`: kept in the audit log")
	return cmd
}

// unknownJob returns the error of a change of a job that does not exist, with the job that may be meant.
func unknownJob(ctx context.Context, api admin.API, job string, err error) error {
	page, listErr := api.Jobs(ctx, af.JobQuery{Limit: 1000})
	if listErr != nil {
		return err
	}
	names := make([]string, len(page.Jobs))
	for i := range page.Jobs {
		names[i] = page.Jobs[i].ID
	}
	if near, ok := suggest.Nearest(job, names); ok {
		return fmt.Errorf("%w; did you mean %q?", err, near)
	}
	return fmt.Errorf("%w; af jobs lists the jobs", err)
}
