package cli

import (
	"github.com/spf13/cobra"

	af "github.com/afgen/afgen/runtime"
)

// filterHelp returns the help topic of filters.
func (c *invocation) filterHelp() *cobra.Command {
	return &cobra.Command{Use: "filter", Short: "Filters select tasks"}
}

// unimplemented is the body of commands that are not written yet.
func (c *invocation) unimplemented(cmd *cobra.Command, _ []string) error {
	return af.Errorf(af.ErrUnimplemented, "%s is not implemented", cmd.CommandPath())
}
