//go:build unix

package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// stranger is a user id that is neither root's nor the test's.
const stranger = 54321

// chown changes the owner of files to stranger, which requires root.
func chown(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Lchown(path, stranger, -1); err != nil {
			t.Fatal(err)
		}
	}
}

func mkdir(t *testing.T, mode os.FileMode, elements ...string) string {
	t.Helper()
	path := filepath.Join(elements...)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, mode)
	return path
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, link string) string {
	t.Helper()
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// openLogged opens and closes a file and returns what was logged.
func openLogged(t *testing.T, path string, opts ...embedded.Option) string {
	t.Helper()
	var log bytes.Buffer
	ports, err := embedded.File(path, opts...).Open(t.Context(), backend.Env{Logger: slog.New(slog.NewTextHandler(&log,
		nil))})
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return ""
	}
	if err := ports.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	return log.String()
}

// Other users can't plant a file, a log of SQLite, a directory for sockets or a link that a program would use.
func TestUnsafePaths(t *testing.T) {
	const denied, invalid = backend.ErrPermissionDenied, backend.ErrInvalidArgument
	for _, c := range []struct {
		name string
		root bool // requires root
		path func(t *testing.T, dir string) string
		code backend.Code
		text string
	}{
		{"directory_777", false, func(t *testing.T, dir string) string { return mkdir(t, 0o777, dir, "open") + "/af.db" },
			denied, "it is writable by all users"},
		{"directory_of_the_link", false, func(t *testing.T, dir string) string {
			createFile(t, dir+"/af.db")
			return symlink(t, dir+"/af.db", mkdir(t, 0o777, dir, "open")+"/link.db")
		}, denied, "it is writable by all users"},
		{"directory_of_the_target", false, func(t *testing.T, dir string) string {
			open := mkdir(t, 0o700, dir, "open")
			createFile(t, open+"/af.db")
			chmod(t, open, 0o777)
			return symlink(t, open+"/af.db", dir+"/link.db")
		}, denied, "it is writable by all users"},
		{"file_666", false, func(t *testing.T, dir string) string {
			createFile(t, dir+"/af.db")
			chmod(t, dir+"/af.db", 0o666)
			return dir + "/af.db"
		}, denied, "chmod go="},
		{"run_777", false, func(t *testing.T, dir string) string {
			mkdir(t, 0o777, dir, "af.db-run")
			return dir + "/af.db"
		}, denied, "chmod go="},
		{"run_is_a_link", false, func(t *testing.T, dir string) string {
			symlink(t, mkdir(t, 0o700, dir, "elsewhere"), dir+"/af.db-run")
			return dir + "/af.db"
		}, invalid, "not a directory"},
		{"wal_is_a_link", false, func(t *testing.T, dir string) string {
			createFile(t, dir+"/af.db")
			symlink(t, dir+"/other", dir+"/af.db-wal")
			return dir + "/af.db"
		}, invalid, "not a regular file"},
		{"journal_of_other_user", true, func(t *testing.T, dir string) string {
			shared := mkdir(t, 0o777|os.ModeSticky, dir, "tmp")
			if err := os.WriteFile(shared+"/af.db-journal", []byte("planted"), 0o644); err != nil {
				t.Fatal(err)
			}
			chown(t, shared+"/af.db-journal")
			return shared + "/af.db"
		}, denied, "af.db-journal belongs to user 54321"},
		{"planted_link", true, func(t *testing.T, dir string) string {
			createFile(t, dir+"/mine.db")
			shared := mkdir(t, 0o777|os.ModeSticky, dir, "tmp")
			chown(t, symlink(t, dir+"/mine.db", shared+"/af.db"))
			return shared + "/af.db"
		}, denied, "it is a link created by user 54321"},
		{"planted_directory", true, func(t *testing.T, dir string) string {
			mkdir(t, 0o700, dir, "mine")
			shared := mkdir(t, 0o777|os.ModeSticky, dir, "tmp")
			chown(t, symlink(t, dir+"/mine", shared+"/app"))
			return shared + "/app/af.db"
		}, denied, "it is a link created by user 54321"},
		{"run_of_other_user", true, func(t *testing.T, dir string) string {
			chown(t, mkdir(t, 0o755, dir, "af.db-run"))
			return dir + "/af.db"
		}, denied, "af.db-run belongs to user 54321"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				return // chown requires root, as in CI
			}
			refused(t, c.path(t, t.TempDir()), c.code, c.text)
		})
	}
}

// A directory of another user is refused, except for root: containers run as root on directories of their hosts.
func TestDirectoryOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // chown requires root, as in CI
	}
	dir := t.TempDir()
	path := mkdir(t, 0o755, dir, "theirs") + "/af.db"
	chown(t, filepath.Dir(path))
	refused(t, path, backend.ErrPermissionDenied, "it belongs to user 54321: choose a path", embedded.AsUser(stranger+1))
	if log := openLogged(t, path); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "user 54321") {
		t.Errorf("root's log: %q", log)
	}
}

// Setups that are common with containers and groups work, and log a warning only if another user can do harm.
func TestSafePaths(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o002))
	for _, c := range []struct {
		name string
		path func(t *testing.T, dir string) string
		warn string // "" for none
	}{
		{"new", func(t *testing.T, dir string) string { return dir + "/a/b/af.db" }, ""},
		{"group", func(t *testing.T, dir string) string { return mkdir(t, 0o2775, dir, "team") + "/af.db" }, ""},
		{"group_file", func(t *testing.T, dir string) string { // copied by cp
			createFile(t, dir+"/af.db")
			chmod(t, dir+"/af.db", 0o664)
			return dir + "/af.db"
		}, "chmod go="},
		{"own_link", func(t *testing.T, dir string) string {
			createFile(t, dir+"/af.db")
			return symlink(t, "af.db", dir+"/link.db")
		}, ""},
		{"linked_directory", func(t *testing.T, dir string) string {
			return symlink(t, "../"+filepath.Base(dir)+"/real", mkdir(t, 0o700, dir, "real")+"/../link") + "/af.db"
		}, ""},
		{"below_777", func(t *testing.T, dir string) string { return mkdir(t, 0o777, dir, "volume") + "/data/af.db" },
			"it is writable by all users"},
		{"tmp", func(t *testing.T, dir string) string { return mkdir(t, 0o777|os.ModeSticky, dir, "tmp") + "/af.db" },
			"all users can create files"},
		{"below_tmp", func(t *testing.T, dir string) string {
			return mkdir(t, 0o777|os.ModeSticky, dir, "tmp") + "/data/af.db"
		}, ""},
		{"two_names", func(t *testing.T, dir string) string {
			createFile(t, dir+"/af.db")
			if err := os.Link(dir+"/af.db", dir+"/other.db"); err != nil {
				t.Fatal(err)
			}
			return dir + "/af.db"
		}, "hard links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.path(t, t.TempDir())
			for range 2 { // first a new file, then an existing one
				log := openLogged(t, path)
				if strings.Contains(log, "level=WARN") != (c.warn != "") || !strings.Contains(log, c.warn) {
					t.Errorf("logged %q, want %q", log, c.warn)
				}
			}
			real, err := filepath.EvalSymlinks(path)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(real + "-run")
			if err != nil || fmt.Sprintf("%o", info.Mode().Perm()) != "700" {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
}
