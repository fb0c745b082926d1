//go:build unix

package logs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// stranger is the id of a user that is neither root nor runs the tests.
const stranger = 54321

func dir(t *testing.T, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "logs")
	if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

// today returns the path of today's file of the program x.
func today(dir string) string { return filepath.Join(dir, "x-"+time.Now().Format(day)+suffix) }

// Another user can't redirect the log to a file of the program's user, or to one that the other user can read.
func TestPlantedFilesAreRejected(t *testing.T) {
	if os.Geteuid() != 0 {
		return // chown needs root; CI runs as root
	}
	const shared = 0o777 | os.ModeSticky
	for name, plant := range map[string]func(t *testing.T) (dir string){
		"link": func(t *testing.T) string {
			d, victim := dir(t, shared), filepath.Join(t.TempDir(), "victim")
			err := errors.Join(os.WriteFile(victim, nil, 0o600), os.Symlink(victim, today(d)), os.Lchown(today(d), stranger, -1))
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		"file": func(t *testing.T) string {
			d := dir(t, shared)
			if err := errors.Join(os.WriteFile(today(d), nil, 0o666), os.Lchown(today(d), stranger, -1)); err != nil {
				t.Fatal(err)
			}
			return d
		},
		"pipe": func(t *testing.T) string {
			d := dir(t, 0o700)
			if err := syscall.Mkfifo(today(d), 0o600); err != nil {
				t.Fatal(err)
			}
			return d
		},
		"directory": func(t *testing.T) string {
			d, mine := dir(t, shared), t.TempDir()
			if err := errors.Join(os.Symlink(mine, d+"/logs"), os.Lchown(d+"/logs", stranger, -1)); err != nil {
				t.Fatal(err)
			}
			return d + "/logs"
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Open(Options{Dir: plant(t), Name: "x", Console: io.Discard})
			if e, ok := errors.AsType[*backend.Error](err); !ok || !strings.Contains(e.Message, "logger.path") {
				t.Errorf("got %v, %v", l, err)
			}
		})
	}
}

func TestModesOfLogs(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	for name, c := range map[string]struct {
		mode os.FileMode
		warn bool
	}{"own": {0o755, false}, "group": {0o2775, false}, "tmp": {0o777 | os.ModeSticky, false}, "open": {0o777, true}} {
		t.Run(name, func(t *testing.T) {
			d := dir(t, c.mode)
			for range 2 {
				var console bytes.Buffer
				l, err := Open(Options{Dir: d, Name: "x", Console: &console})
				if err != nil {
					t.Fatal(err)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				info, err := os.Stat(l.Path())
				if err != nil || info.Mode().Perm()&0o007 != 0 && info.Mode().Perm() != 0o664 {
					t.Errorf("%v, %v", info.Mode(), err)
				}
				if strings.Contains(console.String(), "another user can replace log files") != c.warn {
					t.Errorf("the console: %s", console.String())
				}
				if err := os.Chmod(l.Path(), 0o666); err != nil { // the next Open removes the write permission of others
					t.Fatal(err)
				}
			}
		})
	}
}

// Find does not block on a pipe that has the name of a log.
func TestFindSkipsPipes(t *testing.T) {
	d := dir(t, 0o700)
	if err := syscall.Mkfifo(today(d), 0o600); err != nil {
		t.Fatal(err)
	}
	for e, err := range Find(d, "t") {
		t.Error(e, err)
	}
}
