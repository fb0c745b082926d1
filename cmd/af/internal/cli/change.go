package cli

import "github.com/spf13/cobra"

func (c *invocation) retryCommand() *cobra.Command {
	return &cobra.Command{Use: "retry ID...", Short: "Retry tasks", RunE: c.unimplemented}
}

func (c *invocation) stopCommand() *cobra.Command {
	return &cobra.Command{Use: "stop ID...", Short: "Stop tasks", RunE: c.unimplemented}
}

func (c *invocation) deleteCommand() *cobra.Command {
	return &cobra.Command{Use: "delete ID...", Short: "Delete tasks that have ended", RunE: c.unimplemented}
}

func (c *invocation) runCommand() *cobra.Command {
	return &cobra.Command{Use: "run ID...", Short: "Run waiting tasks now", RunE: c.unimplemented}
}

func (c *invocation) reweighCommand() *cobra.Command {
	return &cobra.Command{Use: "reweigh WEIGHT ID...", Short: "Change the weight of tasks", RunE: c.unimplemented}
}
