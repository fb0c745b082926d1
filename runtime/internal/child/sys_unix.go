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

// ends returns the child's ends. They are close-on-exec, because an inherited end would keep the pipe open.
func ends(Mark) (in, out *os.File) {
	syscall.CloseOnExec(inFD)
	syscall.CloseOnExec(outFD)
	// Non-blocking, so that readers occupy no thread if possible.
	_ = syscall.SetNonblock(inFD, true)
	_ = syscall.SetNonblock(outFD, true)
	return os.NewFile(inFD, "from the parent"), os.NewFile(outFD, "to the parent")
}

// hand passes the child its ends.
func (f *pipes) hand(cmd *exec.Cmd, _ *Mark) { cmd.ExtraFiles = []*os.File{f.childIn, f.childOut} }

// killGroup kills an unreaped child and its group.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails only if the group has nothing but the zombie
}

// askForStacks makes an unreaped child write its goroutines' stacks to stderr and exit. Its own children get no
// signal.
func askForStacks(cmd *exec.Cmd) bool { return syscall.Kill(cmd.Process.Pid, syscall.SIGQUIT) == nil }

// killOwnGroup kills this process and the processes that it has started.
func killOwnGroup() {
	if syscall.Getpgrp() == os.Getpid() { // otherwise the group belongs to another process
		_ = syscall.Kill(0, syscall.SIGKILL) // doesn't return
	}
}

// terminated reports whether SIGTERM or SIGINT ended a process.
func terminated(s *os.ProcessState) bool {
	w, ok := s.Sys().(syscall.WaitStatus)
	return ok && w.Signaled() && (w.Signal() == syscall.SIGTERM || w.Signal() == syscall.SIGINT)
}
