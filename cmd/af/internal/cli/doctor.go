package cli

import "github.com/spf13/cobra"

func (c *invocation) doctorCommand() *cobra.Command {
	return &cobra.Command{Use: "doctor", Short: "Check the system and tell what is wrong", RunE: c.unimplemented}
}
