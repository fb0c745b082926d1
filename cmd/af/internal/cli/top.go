package cli

import "github.com/spf13/cobra"

func (c *invocation) topCommand() *cobra.Command {
	return &cobra.Command{Use: "top", Short: "Show queues, rates and slots, live", RunE: c.unimplemented}
}
