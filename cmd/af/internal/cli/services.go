package cli

import "github.com/spf13/cobra"

func (c *invocation) servicesCommand() *cobra.Command {
	return &cobra.Command{Use: "services", Short: "List services, methods and their load", RunE: c.unimplemented}
}
