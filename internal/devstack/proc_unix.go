//go:build unix

package devstack

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// detach makes the command outlive this process, in its own process group.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// signalGroup terminates all processes of a group, or kills them if hard. A group that has no process is no error.
func signalGroup(pid int, hard bool) error {
	signal := syscall.SIGTERM
	if hard {
		signal = syscall.SIGKILL
	}
	if err := syscall.Kill(-pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// pauseGroup stops all processes of a group, or continues them.
func pauseGroup(pid int, stop bool) error {
	if stop {
		return syscall.Kill(-pid, syscall.SIGSTOP)
	}
	return syscall.Kill(-pid, syscall.SIGCONT)
}

// groupAlive reports whether a group has any process.
func groupAlive(pid int) bool { return syscall.Kill(-pid, 0) == nil }

// ours reports whether a file belongs to this user.
func ours(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}
