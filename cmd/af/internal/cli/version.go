package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

const modulePath = "github.com/afgen/afgen"

func (c *invocation) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			fmt.Fprintf(&c.Out, "af %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}

// version returns the version of the module that this command was built from.
func version() string {
	version := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok {
		switch {
		case info.Main.Path == modulePath && info.Main.Version != "":
			version = info.Main.Version
		default:
			for _, m := range info.Deps {
				if m.Path == modulePath {
					version = m.Version
				}
			}
		}
	}
	return version
}
