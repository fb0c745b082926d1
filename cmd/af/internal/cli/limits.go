package cli

import "github.com/spf13/cobra"

func (c *invocation) pauseCommand() *cobra.Command {
	return &cobra.Command{Use: "pause QUEUE", Short: "Pause a queue", RunE: c.unimplemented}
}

func (c *invocation) resumeCommand() *cobra.Command {
	return &cobra.Command{Use: "resume QUEUE", Short: "Resume a queue", RunE: c.unimplemented}
}

func (c *invocation) maxCommand() *cobra.Command {
	return &cobra.Command{Use: "max QUEUE [N]", Short: "Show or set how many tasks of a queue each instance runs", RunE: c.unimplemented}
}
