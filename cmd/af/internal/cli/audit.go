package cli

import "github.com/spf13/cobra"

func (c *invocation) auditCommand() *cobra.Command {
	return &cobra.Command{Use: "audit", Short: "List changes that people made", RunE: c.unimplemented}
}
