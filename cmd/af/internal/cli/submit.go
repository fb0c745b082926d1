package cli

import "github.com/spf13/cobra"

func (c *invocation) submitCommand() *cobra.Command {
	return &cobra.Command{Use: "submit QUEUE PAYLOAD", Short: "Submit a task", RunE: c.unimplemented}
}
