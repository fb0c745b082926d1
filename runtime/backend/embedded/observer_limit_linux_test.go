package embedded_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

func init() {
	children["observe full"] = func() int { return observeLimited(noSpace, backend.ErrResourceExhausted, backend.ErrUnavailable) }
	children["observe readonly"] = func() int { return observeLimited(noRights, backend.ErrPermissionDenied) }
}

// noSpace makes each write to a file fail, as on a full disk.
func noSpace() error {
	signal.Ignore(syscall.SIGXFSZ)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{})
}

// noRights drops the right of the superuser to write to all files.
func noRights() error {
	if os.Geteuid() != 0 {
		return nil
	}
	return syscall.Setuid(nobody)
}

const nobody = 65534

// observeLimited observes the file under a limit, and expects a change to fail with one of the codes. SQLite
// reports a limit of the size of files as an I/O error, except for the file of its shared memory.
func observeLimited(limit func() error, codes ...backend.Code) int {
	ctx := context.Background()
	if err := limit(); err != nil {
		fmt.Fprintln(os.Stderr, "limiting:", err)
		return 2
	}
	ports, err := observe(ctx, os.Getenv(fileEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, "opening:", err)
		return 1
	}
	wrong := 0
	page, err := ports.Store.List(ctx, backend.TaskQuery{})
	if err != nil || len(page.Tasks) != 1 {
		fmt.Fprintln(os.Stderr, "listing:", page, err)
		wrong = 1
	}
	if _, err := ports.Store.Stop(ctx, backend.Stop{ID: "t"}); err == nil || !slices.Contains(codes, backend.CodeOf(err)) {
		fmt.Fprintf(os.Stderr, "stopping: %v, want one of %s\n", err, codes)
		wrong = 1
	}
	if task, err := ports.Store.Get(ctx, "t"); err != nil || task.Status != backend.StatusWaiting {
		fmt.Fprintln(os.Stderr, "reading:", task.Status, err)
		wrong = 1
	}
	if err := ports.Close(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "closing:", err)
		wrong = 1
	}
	return wrong
}

// An observer opens a file although nothing can be written to the disk, whether or not another process has it open.
func TestObserverOnFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	createFile(t, path)
	testkit.Must(t, testkit.Command("observe full", fileEnv+"="+path).Run())
	openUntilEnd(t, path)
	testkit.Must(t, testkit.Command("observe full", fileEnv+"="+path).Run())
}

// An observer opens a file that it can only read, in a directory that it can only read.
func TestObserverOfReadOnlyFile(t *testing.T) {
	// Not in t.TempDir: TMPDIR may be a directory that only this user can enter.
	dir, err := os.MkdirTemp("/tmp", "afgen-observer-")
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, os.RemoveAll(dir)) })
	path := filepath.Join(dir, "af.db")
	createFile(t, path)
	testkit.Must(t, os.RemoveAll(path+"-run"))
	testkit.Must(t, os.Chmod(path, 0o400))
	testkit.Must(t, os.Chmod(dir, 0o500))
	if os.Geteuid() == 0 {
		testkit.Must(t, os.Chown(path, nobody, -1))
		testkit.Must(t, os.Chown(dir, nobody, -1))
	}
	t.Cleanup(func() { testkit.Must(t, os.Chmod(dir, 0o700)) })
	testkit.Must(t, testkit.Command("observe readonly", fileEnv+"="+path).Run())
}
