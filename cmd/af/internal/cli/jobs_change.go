package cli

import "github.com/spf13/cobra"

func (c *invocation) fireCommand() *cobra.Command {
	return &cobra.Command{Use: "fire JOB", Short: "Run a job now", RunE: c.unimplemented}
}

func (c *invocation) enableCommand() *cobra.Command {
	return &cobra.Command{Use: "enable JOB", Short: "Enable a job", RunE: c.unimplemented}
}

func (c *invocation) disableCommand() *cobra.Command {
	return &cobra.Command{Use: "disable JOB", Short: "Disable a job", RunE: c.unimplemented}
}
