package cli

import "github.com/spf13/cobra"

func (c *invocation) psCommand() *cobra.Command {
	return &cobra.Command{Use: "ps [QUEUE]", Short: "List running tasks: where, how long, progress", RunE: c.unimplemented}
}
