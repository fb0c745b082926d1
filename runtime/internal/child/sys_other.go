//go:build unix && !linux

package child

import (
	"os"
	"os/exec"
	"syscall"
)

func executable() (string, error) { return os.Executable() }

// setup makes the child the leader of a group.
func setup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// orphaned has nothing to do: the pipe alone tells that the parent has died.
func orphaned() {}

// limitMemory has nothing to do: there is no limit that Go's heap obeys but GOMEMLIMIT.
func limitMemory(int64) error { return nil }
