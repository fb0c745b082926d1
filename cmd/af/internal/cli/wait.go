package cli

import "github.com/spf13/cobra"

func (c *invocation) waitCommand() *cobra.Command {
	return &cobra.Command{Use: "wait ID...", Short: "Wait until tasks have ended", RunE: c.unimplemented}
}
