package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

// taskLog is what af logs -o json prints.
type taskLog struct {
	ID     string    `json:"id"`
	Status af.Status `json:"status"`
	Log    []string  `json:"log"`
}

// logLine is what af logs -f -o json prints for each line.
type logLine struct {
	Line string `json:"line"`
}

func (c *invocation) logsCommand() *cobra.Command {
	var followed bool
	cmd := &cobra.Command{
		Use: "logs ID", Short: "Show the log of a task", Args: cobra.ExactArgs(1),
		Long: `Logs prints the last log lines of a task: those that its handler wrote in attempts that have ended.

With -f it also prints the lines of an attempt as they are written, and of later attempts, until the
task has ended. If a handler writes faster than they are sent, a line tells how many were left out.
With -o json -f, each line is an object on a line.`,
		Example: `  af logs 01J2ABCDEFGHJKMNPQRSTVWXYZ
  af logs 01J2ABCDEFGHJKMNPQRSTVWXYZ -f`,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			if followed {
				for lines, err := range api.Logs(cmd.Context(), args[0]) {
					if err != nil {
						return err
					}
					if err := c.printLog(lines); err != nil {
						return err
					}
				}
				return nil
			}
			t, err := api.Task(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if t.Redacted {
				return af.Errorf(af.ErrPermissionDenied, "logs need the right payloads")
			}
			if c.json() {
				log := taskLog{t.ID, t.Status, t.Log}
				if log.Log == nil {
					log.Log = []string{}
				}
				return c.printJSON(log)
			}
			switch {
			case t.Status == af.StatusRunning:
				c.note("task %s runs: af logs %s -f shows what this attempt writes", t.ID, t.ID)
			case len(t.Log) == 0:
				c.note("task %s is %s and has no log", t.ID, t.Status)
			}
			return c.printLog(t.Log)
		},
	}
	cmd.Flags().BoolVarP(&followed, "follow", "f", false, "print lines as they are written, until the task has ended")
	return cmd
}

// printLog prints log lines.
func (c *invocation) printLog(lines []string) error {
	for _, line := range lines {
		var err error
		if c.json() {
			err = c.printLine(logLine{line})
		} else {
			_, err = fmt.Fprintln(&c.Out, text.Clean(line))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
