package testkit

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel kill the process when the thread ends that starts it.
func dieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
