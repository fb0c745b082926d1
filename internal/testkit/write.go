package testkit

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Write writes a file and creates its directories.
func Write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Symlink creates a symbolic link. It skips the test on Windows if the user isn't allowed to create one.
func Symlink(t testing.TB, target, link string) {
	t.Helper()
	if err := os.Symlink(target, link); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip("symbolic links need a privilege: ", err)
		}
		t.Fatal(err)
	}
}
