// Package buildversion tells which version of the module a command was built from.
package buildversion

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Module is the path of the module.
const Module = "github.com/afgen/afgen"

// Line returns what the subcommand version of a command prints.
func Line(command string) string {
	return fmt.Sprintf("%s %s (%s, %s/%s)", command, Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Version returns the version of the module that the program was built from, such as v1.2.3, or (devel) if that is
// unknown.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)"
	}
	if info.Main.Path == Module && info.Main.Version != "" {
		return info.Main.Version
	}
	for _, m := range info.Deps {
		if m.Path == Module {
			return m.Version
		}
	}
	return "(devel)"
}
