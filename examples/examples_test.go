// Package examples_test runs the examples as a user does: as processes that share only a directory.
package examples_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
)

var programs struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(programs.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// build builds the example programs once for all tests, and returns their directory.
func build(t testing.TB) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "afgen-examples"); programs.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", programs.dir+string(filepath.Separator), "./servers",
			"./client", "./scenario")
		cmd.Env = append(os.Environ(), "GOFLAGS="+testkit.GoFlags())
		if out, err := cmd.CombinedOutput(); err != nil {
			programs.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return programs.dir
}

// A process is a command that is killed when its test ends.
type process struct {
	*exec.Cmd
	err bytes.Buffer
}

func start(t *testing.T, dir, bin, name string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(filepath.Join(bin, name), args...)}
	p.Dir, p.Stderr = dir, &p.err
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	return p
}

// client runs the client until it exits. heard is called with each line.
func client(t *testing.T, dir, bin string, heard func(line string), args ...string) (last string, err error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "client"), args...)
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last = lines.Text()
		heard(last)
	}
	return last, cmd.Wait()
}

// The servers are killed while tasks run, and restarted. Every task succeeds, and the client only waits.
func TestKilledServersOnlyDelay(t *testing.T) {
	bin, dir := build(t), t.TempDir()
	servers := start(t, dir, bin, "servers", "-work", "200ms")
	submitted := 0
	last, err := client(t, dir, bin, func(line string) {
		if !strings.HasPrefix(line, "task ") {
			return
		}
		if submitted++; submitted == 20 {
			if err := servers.Process.Kill(); err != nil {
				t.Error(err)
			}
			_ = servers.Wait()
			servers = start(t, dir, bin, "servers", "-work", "200ms")
		}
	}, "-n", "20")
	if want := "OK calls=1 tasks=120 success=120 failed=0"; err != nil || last != want {
		t.Errorf("%q, %v, want %q", last, err, want)
	}
	if err := servers.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := servers.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &servers.err)
	}
	for _, name := range []string{".af", ".af/af.db"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestClientWaitsForServers(t *testing.T) {
	bin, dir := build(t), t.TempDir()
	fires := 0
	last, err := client(t, dir, bin, func(line string) {
		switch {
		case line == "calling test_server":
			start(t, dir, bin, "servers")
		case strings.HasPrefix(line, "job tick, due at "):
			fires++
		}
	})
	if want := "OK calls=1 tasks=18 success=18 failed=0"; err != nil || last != want {
		t.Errorf("%q, %v, want %q", last, err, want)
	}
	if fires == 0 {
		t.Error("the client saw no fires of the servers' job")
	}
}

func TestClientReportsErrors(t *testing.T) {
	bin, dir := build(t), t.TempDir()
	last, err := client(t, dir, bin, func(string) {}, "-timeout", "2s")
	if err == nil || !strings.HasPrefix(last, "FAILED call: ") ||
		!strings.Contains(last, `no instance of service "test_server"`) {
		t.Errorf("%q, %v", last, err)
	}
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte("embedded:\n  pfad: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	last, err = client(t, dir, bin, func(string) {})
	if err == nil || !strings.HasPrefix(last, "FAILED config.yaml:2") {
		t.Errorf("%q, %v", last, err)
	}
	out, err := exec.Command(filepath.Join(bin, "servers"), "-config", fmt.Sprint(dir, "/none.yaml")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "none.yaml: no such file") {
		t.Errorf("%s, %v", out, err)
	}
}

// AstraFlux's own example: the call returns, and every task and subtask runs.
func TestScenario(t *testing.T) {
	bin, dir := build(t), t.TempDir()
	servers := exec.Command(filepath.Join(bin, "scenario"))
	servers.Dir = dir
	log, err := servers.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := servers.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(time.Minute, func() { _ = servers.Process.Kill() }).Stop()
	client := exec.Command(filepath.Join(bin, "scenario"), "client")
	client.Dir = dir
	out, err := client.Output()
	if lines := strings.Split(string(out), "\n"); err != nil ||
		lines[0] != "RPC call result: 1 2 <nil>" || len(lines) != 5 {
		t.Errorf("%s, %v", out, err)
	}
	received := 0
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if !strings.Contains(lines.Text(), "msg=received") {
			continue
		}
		if received++; received == 18 {
			if err := servers.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	if err := servers.Wait(); err != nil || received != 18 {
		t.Errorf("%v, and %d of 18 tasks have begun", err, received)
	}
}
