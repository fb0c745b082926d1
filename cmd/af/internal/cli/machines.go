package cli

import "github.com/spf13/cobra"

func (c *invocation) instancesCommand() *cobra.Command {
	return &cobra.Command{Use: "instances", Short: "List running instances", RunE: c.unimplemented}
}

func (c *invocation) nodesCommand() *cobra.Command {
	return &cobra.Command{Use: "nodes", Short: "List machines", RunE: c.unimplemented}
}
