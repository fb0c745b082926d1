package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/doctor"
	"github.com/afgen/afgen/runtime/backend/servers"
)

const doctorLong = `Doctor checks the whole system and tells what is wrong and what helps: degraded modes,
queues without workers, pauses and limits that were forgotten, workers that claim nothing,
handlers that don't return, tasks that wait although slots are free, versions and contracts
that differ, jobs that can't fire, skipped due times, clocks that differ, full disks, missing
indexes of MongoDB, and the permissions of the embedded file.

It changes nothing. Problems come first. A check is unknown if what it looks at can't be read.
Exit code 1: there are problems.`

const doctorExample = `  af doctor
  af doctor -late 30s      # also tasks that have been ready for 30 s although slots are free
  af doctor -o json | jq -r '.findings[] | select(.verdict == "problem") | .help'`

// lateByDefault is for how long a task may be ready while slots are free.
const lateByDefault = 5 * time.Minute

func (c *invocation) doctorCommand() *cobra.Command {
	late := lateByDefault
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check the system and tell what is wrong", Long: doctorLong, Example: doctorExample,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if late < 0 {
				return fmt.Errorf("-late %v: want a positive duration", late)
			}
			return c.doctor(cmd.Context(), late)
		},
	}
	cmd.Flags().DurationVar(&late, "late", late, "for how long a task may be ready while slots are free: a `duration`")
	return cmd
}

func (c *invocation) doctor(ctx context.Context, late time.Duration) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	s := doctor.System{API: api, Now: c.Now, Late: late}
	if app := c.conn.app; app != nil {
		s.StoreTime = app.Now
		if app.Health().Backend == "embedded" {
			s.File = c.conn.name
		}
		if _, err := servers.Mongo(app); err == nil {
			s.MissingIndexes = func(ctx context.Context) ([]string, error) { return servers.MissingIndexes(ctx, app) }
		}
	}
	r, err := doctor.Examine(ctx, s)
	if err != nil {
		return err
	}
	if r.Problems > 0 {
		c.code = exitProblem
	}
	if c.json() {
		return c.printJSON(r)
	}
	_, err = c.Out.Write([]byte(strings.Join(r.Lines(&c.Out), "\n") + "\n"))
	return err
}
