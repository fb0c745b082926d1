//go:build unix

package child

import (
	"os"
	"os/exec"
	"syscall"
)

// The child's ends of the pipe.
const (
	inFD  = 3
	outFD = 4
)

// ends returns the child's ends. What the child starts must not hold them: it would keep the pipe open.
func ends(Mark) (in, out *os.File) {
	syscall.CloseOnExec(inFD)
	syscall.CloseOnExec(outFD)
	// So that whoever waits for them occupies no thread; where that can't be, it does.
	_ = syscall.SetNonblock(inFD, true)
	_ = syscall.SetNonblock(outFD, true)
	return os.NewFile(inFD, "from the parent"), os.NewFile(outFD, "to the parent")
}

// hand gives the child its ends.
func (f *pipes) hand(cmd *exec.Cmd, _ *Mark) { cmd.ExtraFiles = []*os.File{f.childIn, f.childOut} }

// killGroup kills a child that has not been reaped, and what is in its group.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // where the group is empty but for the zombie there is nobody to kill
}

// askForStacks has a child that has not been reaped write the stacks of its goroutines to stderr and end. What it has started
// gets no signal.
func askForStacks(cmd *exec.Cmd) bool { return syscall.Kill(cmd.Process.Pid, syscall.SIGQUIT) == nil }

// killOwnGroup kills this process and what it has started.
func killOwnGroup() {
	if syscall.Getpgrp() == os.Getpid() { // else the group is another's
		_ = syscall.Kill(0, syscall.SIGKILL) // it doesn't return
	}
}

// terminated reports whether SIGTERM or SIGINT has ended a process.
func terminated(s *os.ProcessState) bool {
	w, ok := s.Sys().(syscall.WaitStatus)
	return ok && w.Signaled() && (w.Signal() == syscall.SIGTERM || w.Signal() == syscall.SIGINT)
}
