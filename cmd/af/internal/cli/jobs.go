package cli

import "github.com/spf13/cobra"

func (c *invocation) jobsCommand() *cobra.Command {
	return &cobra.Command{Use: "jobs", Short: "List jobs", RunE: c.unimplemented}
}

func (c *invocation) firesCommand() *cobra.Command {
	return &cobra.Command{Use: "fires [JOB]", Short: "List due times that have fired or were skipped", RunE: c.unimplemented}
}
