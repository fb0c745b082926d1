package child

import (
	"fmt"
	"os/exec"
	"syscall"
)

// executable is this program, even if its file has been replaced or deleted since it began.
func executable() (string, error) { return "/proc/self/exe", nil }

// setup makes the child the leader of a group, and lets it die with its parent.
func setup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// orphaned leaves it to the pipe to tell that the parent has died: the kernel's signal would reach this process only, and
// leave what it has started. It is called before main, on the thread that the signal belongs to.
func orphaned() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, 0, 0) // no signal is always a valid one
}

// limitMemory limits the writable memory of this process and of each that it starts.
func limitMemory(n int64) error {
	if n <= 0 {
		return nil
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: uint64(n), Max: uint64(n)}); err != nil {
		return fmt.Errorf("limiting the memory to %d bytes: %w", n, err)
	}
	return nil
}
