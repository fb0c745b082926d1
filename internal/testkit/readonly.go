package testkit

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// ReadOnlyDir returns a directory in which this process can create no files, even as root.
func ReadOnlyDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if runtime.GOOS == "linux" && os.Geteuid() == 0 { // modes don't bind root
		dir = "/sys/kernel"
	} else if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "afgen-test")
	if err := os.WriteFile(file, nil, 0o600); err == nil {
		_ = os.Remove(file) // the failure below is what matters
		t.Fatalf("files can be created in %s", dir)
	}
	return dir
}
