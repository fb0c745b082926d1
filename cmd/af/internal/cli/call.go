package cli

import "github.com/spf13/cobra"

func (c *invocation) callCommand() *cobra.Command {
	return &cobra.Command{Use: "call SERVICE.METHOD [NAME=VALUE...]", Short: "Call a method of a service", RunE: c.unimplemented}
}
