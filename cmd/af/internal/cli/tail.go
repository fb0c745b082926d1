package cli

import "github.com/spf13/cobra"

func (c *invocation) tailCommand() *cobra.Command {
	return &cobra.Command{Use: "tail [FILTER]", Short: "Show tasks as they end or fail", RunE: c.unimplemented}
}
