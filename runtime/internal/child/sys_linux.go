package child

import (
	"fmt"
	"os/exec"
	"syscall"
)

// executable returns this program, even if its file has since been replaced or deleted.
func executable() (string, error) { return "/proc/self/exe", nil }

// setup makes the child lead a process group, and die with its parent.
func setup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// orphaned disables the kernel's signal on the parent's death, which would reach only this process and not its
// children; the pipe replaces it. It is called before main, on the thread that the signal belongs to.
func orphaned() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, 0, 0) // signal 0 is always valid
}

// limitMemory limits the writable memory of this process and of each process that it starts.
func limitMemory(n int64) error {
	if n <= 0 {
		return nil
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: uint64(n), Max: uint64(n)}); err != nil {
		return fmt.Errorf("limit memory to %d bytes: %w", n, err)
	}
	return nil
}
