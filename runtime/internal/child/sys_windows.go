package child

import (
	"os"
	"os/exec"
	"syscall"
)

func executable() (string, error) { return os.Executable() }

func setup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{} }

// ends returns the child's ends of the pipe. Its own children must not inherit them, or the pipe stays open as long
// as they run.
func ends(m Mark) (in, out *os.File) {
	_ = syscall.SetHandleInformation(syscall.Handle(m.In), syscall.HANDLE_FLAG_INHERIT, 0)
	_ = syscall.SetHandleInformation(syscall.Handle(m.Out), syscall.HANDLE_FLAG_INHERIT, 0)
	return os.NewFile(m.In, "from the parent"), os.NewFile(m.Out, "to the parent")
}

// hand makes the child inherit its ends, and passes their handles.
func (f *pipes) hand(cmd *exec.Cmd, m *Mark) {
	for _, end := range []struct {
		file *os.File
		to   *uintptr
	}{{f.childIn, &m.In}, {f.childOut, &m.Out}} {
		h := syscall.Handle(end.file.Fd())
		_ = syscall.SetHandleInformation(h, syscall.HANDLE_FLAG_INHERIT, syscall.HANDLE_FLAG_INHERIT) // otherwise Start fails
		cmd.SysProcAttr.AdditionalInheritedHandles = append(cmd.SysProcAttr.AdditionalInheritedHandles, h)
		*end.to = uintptr(h)
	}
}

// killGroup kills the child. Its own children continue: Windows has no process groups.
func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

// askForStacks returns false: Windows has no such signal.
func askForStacks(*exec.Cmd) bool { return false }

// killOwnGroup does nothing; the caller exits.
func killOwnGroup() {}

func orphaned() {}

func limitMemory(int64) error { return nil }

func terminated(*os.ProcessState) bool { return false }
