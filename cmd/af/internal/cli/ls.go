package cli

import "github.com/spf13/cobra"

func (c *invocation) lsCommand() *cobra.Command {
	return &cobra.Command{Use: "ls [FILTER]", Short: "List tasks", RunE: c.unimplemented}
}
