package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/internal/buildversion"
)

func (c *invocation) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) { fmt.Fprintln(&c.Out, buildversion.Line("af")) },
	}
}
