package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/filter"
)

func (c *invocation) jobsCommand() *cobra.Command {
	var q af.JobQuery
	var limit int
	cmd := &cobra.Command{
		Use: "jobs", Short: "List cron jobs: when they are due, and their last fire", Args: cobra.NoArgs,
		Long: `Jobs lists cron jobs with their next due time and their last fire, those due soonest first.

STATE: a disabled job does not fire; "3 late" due times wait until an earlier task has ended
(overlap=queue); a job that is "over" is never due again.`,
		Example: `  af jobs
  af jobs -o wide                     with times, policies, and who disabled a job
  af fires nightly                    what a job has done`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			q.Sort = af.JobsByNext
			var all af.JobPage
			var more bool
			all.Jobs, more, err = collect(limit, func(n int, cursor string) ([]af.Job, string, error) {
				q.Limit, q.Cursor = n, cursor
				page, err := api.Jobs(cmd.Context(), q)
				all.Total = page.Total
				return page.Jobs, page.Cursor, err
			})
			if err != nil {
				return err
			}
			return c.printList(listResult{all, len(all.Jobs), all.Total, more, "no jobs"}, c.jobTable(all.Jobs))
		},
	}
	cmd.Flags().StringVar(&q.Queue, "queue", "", "only jobs of this `queue`")
	addLimit(cmd, &limit, listLimit)
	return cmd
}

// jobTable returns the table of af jobs.
func (c *invocation) jobTable(jobs []af.Job) *text.Table {
	t := c.table(
		text.Column{Title: "JOB"}, text.Column{Title: "CRON"}, text.Column{Title: "ZONE", Cut: true},
		text.Column{Title: "QUEUE", Cut: true}, text.Column{Title: "NEXT", Right: true},
		text.Column{Title: "FIRED", Right: true}, text.Column{Title: "DUE AT", Wide: true},
		text.Column{Title: "FIRED AT", Wide: true}, text.Column{Title: "MISSED", Wide: true},
		text.Column{Title: "OVERLAP", Wide: true}, text.Column{Title: "ALLOWED", Wide: true}, text.Column{Title: "STATE"},
	)
	for i := range jobs {
		j := &jobs[i]
		zone, err := time.LoadLocation(j.Zone)
		if err != nil { // this machine does not know it
			zone = time.UTC
		}
		next := "-"
		if !j.Next.IsZero() {
			if next = text.Since(j.Next, c.Now()); !strings.HasPrefix(next, "in ") {
				next = "now"
			}
		}
		fired := "never"
		if !j.Fired.IsZero() {
			fired = text.Since(j.Fired, c.Now()) + " ago"
		}
		missed, overlap := j.Missed, j.Overlap
		if missed == "" {
			missed = af.MissedOnce
		}
		if overlap == "" {
			overlap = af.OverlapAllow
		}
		at := func(t time.Time) text.Cell {
			if t.IsZero() {
				return text.Of("-")
			}
			return text.Of(text.Time(t.In(zone)))
		}
		t.Add(text.Of(j.ID), text.Of(j.Cron), text.Of(j.Zone), text.Of(j.Queue), text.Of(next), text.Of(fired),
			at(j.Next), at(j.Fired), text.Of(string(missed)), text.Of(string(overlap)), text.Of(strings.Join(j.Allow, ",")),
			c.jobState(j))
	}
	return t
}

// jobState returns what an operator must know of a job.
func (c *invocation) jobState(j *af.Job) text.Cell {
	var parts []string
	if j.Disabled {
		s := "disabled"
		if c.output == "wide" && j.By != "" {
			s += " by " + j.By
		}
		if c.output == "wide" && j.Reason != "" {
			s += ": " + j.Reason
		}
		parts = append(parts, s)
	}
	if j.Waiting > 0 {
		parts = append(parts, text.Number(int64(j.Waiting))+" late")
	}
	if !j.Disabled && j.Next.IsZero() {
		parts = append(parts, "over")
	}
	return text.Cell{Text: strings.Join(parts, ", "), Style: text.Yellow}
}

func (c *invocation) firesCommand() *cobra.Command {
	var q af.FireQuery
	var limit int
	var skipped bool
	var since string
	cmd := &cobra.Command{
		Use: "fires [JOB]", Short: "List due times of jobs that fired or were skipped", Args: cobra.MaximumNArgs(1),
		Long: `Fires lists what jobs have done, latest first: the task of each due time, or why it was skipped. The
last 200 fires of each job are kept.`,
		Example: `  af fires nightly
  af fires -skipped -since 24h        what did not run, and why`,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				q.Job = args[0]
			}
			if cmd.Flags().Changed("skipped") {
				q.Skipped = &skipped
			}
			if since != "" {
				period, err := filter.Parse("since:"+since, c.Now())
				if err != nil {
					return fmt.Errorf("-since: %w", err)
				}
				q.After = period.After
			}
			var all af.FirePage
			var more bool
			all.Fires, more, err = collect(limit, func(n int, cursor string) ([]af.Fire, string, error) {
				q.Limit, q.Cursor = n, cursor
				page, err := api.Fires(cmd.Context(), q)
				all.Total = page.Total
				return page.Fires, page.Cursor, err
			})
			if err != nil {
				return err
			}
			return c.printList(listResult{all, len(all.Fires), all.Total, more, "no fires"}, c.fireTable(all.Fires))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&skipped, "skipped", false, "only due times that were skipped; -skipped=false: only those that were not")
	f.StringVar(&since, "since", "", "only fires since a `time`: 30m, 2d, 2026-11-30, 2026-11-30T02:15")
	addLimit(cmd, &limit, 100)
	return cmd
}

// fireTable returns the table of af fires.
func (c *invocation) fireTable(fires []af.Fire) *text.Table {
	t := c.table(
		text.Column{Title: "JOB"}, text.Column{Title: "DUE"}, text.Column{Title: "FIRED", Wide: true},
		text.Column{Title: "RESULT", Cut: true},
	)
	for i := range fires {
		f := &fires[i]
		due := "run manually"
		if !f.Due.IsZero() {
			due = f.Due.UTC().Format("2006-01-02 15:04:05Z")
		}
		result := text.Cell{Text: "task " + f.TaskID}
		if f.Skipped != "" {
			result = text.Cell{Text: "skipped: " + admin.SkipReason(f), Style: text.Yellow}
		}
		t.Add(text.Of(f.Job), text.Of(due), text.Of(text.Time(f.At)), result)
	}
	return t
}

// number returns a number with a noun.
func number(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%s %s", text.Number(int64(n)), many)
}
