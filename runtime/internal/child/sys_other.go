//go:build unix && !linux

package child

import (
	"os"
	"os/exec"
	"syscall"
)

func executable() (string, error) { return os.Executable() }

// setup makes the child lead a process group.
func setup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// orphaned does nothing: only the pipe reports the parent's death.
func orphaned() {}

// limitMemory does nothing: GOMEMLIMIT is the only limit that Go's heap obeys.
func limitMemory(int64) error { return nil }
