package cli

import "github.com/spf13/cobra"

func (c *invocation) treeCommand() *cobra.Command {
	return &cobra.Command{Use: "tree ID", Short: "Show a task and its subtasks", RunE: c.unimplemented}
}
