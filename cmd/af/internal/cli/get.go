package cli

import "github.com/spf13/cobra"

func (c *invocation) getCommand() *cobra.Command {
	return &cobra.Command{Use: "get ID", Short: "Show a task", RunE: c.unimplemented}
}
