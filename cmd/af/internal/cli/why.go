package cli

import "github.com/spf13/cobra"

func (c *invocation) whyCommand() *cobra.Command {
	return &cobra.Command{Use: "why ID", Short: "Explain why a task does not run", RunE: c.unimplemented}
}
