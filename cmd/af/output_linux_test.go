package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func init() {
	programs["af-full"] = func() { limited(noSpace) }
	programs["af-nobody"] = func() { limited(noRights) }
}

// limited is the command under a limit.
func limited(limit func() error) {
	if err := limit(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(9)
	}
	main()
}

// noSpace makes each write to a file fail, as on a full disk.
func noSpace() error {
	signal.Ignore(syscall.SIGXFSZ)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{})
}

const nobody = 65534

// noRights drops the right of the superuser to write to all files.
func noRights() error {
	if os.Geteuid() != 0 {
		return nil
	}
	return syscall.Setuid(nobody)
}

// newFile creates an embedded file with a task of the queue mail, in a directory.
func newFile(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "af.db")
	app, err := af.Open(t.Context(), embedded.File(path), af.Logger(nil))
	testkit.Must(t, err)
	testkit.Must(t, app.Start(t.Context()))
	_, err = af.NewVoidQueue[int](app, af.Worker{Name: "mail", Type: "Mail"}).Submit(t.Context(), 1)
	testkit.Must(t, err)
	testkit.Must(t, app.Shutdown(context.Background()))
	return path
}

// A full disk, and a file that can only be read, can be read.
func TestReadsWithoutWriting(t *testing.T) {
	full := newFile(t, t.TempDir())
	// Not in t.TempDir: TMPDIR may be a directory that only this user can enter.
	dir, err := os.MkdirTemp("/tmp", "afgen-af-")
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, os.RemoveAll(dir)) })
	file := newFile(t, dir)
	testkit.Must(t, os.RemoveAll(file+"-run"))
	testkit.Must(t, os.Chmod(file, 0o400))
	testkit.Must(t, os.Chmod(dir, 0o500))
	if os.Geteuid() == 0 {
		testkit.Must(t, os.Chown(file, nobody, -1))
		testkit.Must(t, os.Chown(dir, nobody, -1))
	}
	t.Cleanup(func() { testkit.Must(t, os.Chmod(dir, 0o700)) })
	for program, file := range map[string]string{"af-full": full, "af-nobody": file} {
		cmd := exec.Command(program, "-file", file, "queues")
		if program == "af-nobody" { // its own file may be in a directory of root
			cmd.Path = copied(t, cmd.Path)
		}
		out, err := combined(cmd)
		if err != nil || !strings.Contains(out, "\nmail ") || strings.Contains(out, "af: ") {
			t.Errorf("%s: %v\n%s", program, err, out)
		}
	}
}

// copied copies a program to a directory that every user can enter.
func copied(t *testing.T, program string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "afgen-bin-")
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, os.RemoveAll(dir)) })
	testkit.Must(t, os.Chmod(dir, 0o755))
	data, err := os.ReadFile(program)
	testkit.Must(t, err)
	to := filepath.Join(dir, filepath.Base(program))
	testkit.Must(t, os.WriteFile(to, data, 0o755))
	return to
}

// combined runs a command and returns all that it prints.
func combined(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A reader that closes its pipe ends the command with 141 and without a message. A full disk is told.
func TestOutputThatFails(t *testing.T) {
	file := newFile(t, t.TempDir())
	run := func(out *os.File) (code int, stderr string) {
		t.Helper()
		var b bytes.Buffer
		cmd := exec.Command("af", "-file", file, "queues")
		cmd.Stdout, cmd.Stderr = out, &b
		_ = cmd.Run() // the code tells
		return cmd.ProcessState.ExitCode(), b.String()
	}
	r, w, err := os.Pipe()
	testkit.Must(t, err)
	testkit.Must(t, r.Close())
	if code, stderr := run(w); code != 141 || stderr != "" {
		t.Errorf("a closed pipe: exit code %d, %s", code, stderr)
	}
	testkit.Must(t, w.Close())
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	testkit.Must(t, err)
	if code, stderr := run(full); code != 1 ||
		stderr != "af: writing the output: write /dev/stdout: no space left on device\n" {
		t.Errorf("a full disk: exit code %d, %s", code, stderr)
	}
	testkit.Must(t, full.Close())
}

// On a terminal there are colors unless NO_COLOR is set, and tables fit its width.
func TestTerminal(t *testing.T) {
	file := newFile(t, t.TempDir())
	for _, test := range []struct {
		width uint16
		env   string
		color bool
	}{{80, "TERM=xterm", true}, {120, "TERM=xterm", true}, {80, "NO_COLOR=1", false}, {80, "TERM=dumb", false}} {
		cmd := exec.Command("af", "-file", file, "queues")
		cmd.Env = append(os.Environ(), "NO_COLOR=", "TERM=xterm", test.env)
		out := onTerminal(t, cmd, test.width)
		if color := strings.Contains(out, "\x1b["); color != test.color || !strings.Contains(out, "no worker") {
			t.Errorf("%d columns with %s:\n%q", test.width, test.env, out)
		}
		for line := range strings.Lines(out) {
			if plain := ansi.ReplaceAllString(strings.TrimRight(line, "\r\n"), ""); len(plain) > int(test.width) {
				t.Errorf("%d columns: %q", test.width, plain)
			}
		}
	}
}

// onTerminal runs a command on a terminal, and returns what it writes there.
func onTerminal(t *testing.T, cmd *exec.Cmd, width uint16) string {
	t.Helper()
	p := newPTY(t, width, 24)
	p.start(t, cmd)
	testkit.Must(t, cmd.Wait())
	testkit.Must(t, p.terminal.Close())
	<-p.done
	return p.text()
}

// ansi matches the codes of styles.
var ansi = regexp.MustCompile("\x1b\\[[0-9;]*m")
