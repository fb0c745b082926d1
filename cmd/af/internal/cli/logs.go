package cli

import "github.com/spf13/cobra"

func (c *invocation) logsCommand() *cobra.Command {
	return &cobra.Command{Use: "logs ID", Short: "Show the log of a task", RunE: c.unimplemented}
}
