// Package examples_test runs the examples as a user does: as processes that share only a directory.
package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
)

var programs = testkit.NewPrograms("./servers", "./client", "./scenario")

func TestMain(m *testing.M) { os.Exit(programs.Run(m)) }

// start starts a program in a directory.
func start(t testing.TB, dir, name string, args ...string) *testkit.Process {
	t.Helper()
	cmd := exec.Command(programs.Path(t, name), args...)
	cmd.Dir = dir
	return testkit.Launch(t, cmd)
}

// ended waits until a program has ended, and returns its exit code and the last line of its output.
func ended(p *testkit.Process) (code int, last string) {
	code = p.Wait()
	lines := strings.Split(strings.TrimSuffix(p.Output(), "\n"), "\n")
	return code, lines[len(lines)-1]
}

// The servers are killed while tasks run, and restarted. Every task succeeds, and the client only waits.
func TestKilledServersOnlyDelay(t *testing.T) {
	dir := t.TempDir()
	servers := start(t, dir, "servers", "-work", "200ms")
	client := start(t, dir, "client", "-n", "20")
	client.Until("it submits", func(output string) bool { return strings.Count(output, "\ntask ") >= 20 })
	servers.Kill()
	servers = start(t, dir, "servers", "-work", "200ms")
	code, last := ended(client)
	if want := "OK calls=1 tasks=120 success=120 failed=0"; code != 0 || last != want {
		t.Errorf("exit code %d, %q, want %q", code, last, want)
	}
	servers.Signal(os.Interrupt)
	if code := servers.Wait(); code != 0 {
		t.Errorf("the servers end with exit code %d", code)
	}
	for _, name := range []string{".af", ".af/af.db"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestClientWaitsForServers(t *testing.T) {
	dir := t.TempDir()
	client := start(t, dir, "client")
	client.Line("calling test_server")
	start(t, dir, "servers")
	code, last := ended(client)
	if want := "OK calls=1 tasks=18 success=18 failed=0"; code != 0 || last != want {
		t.Errorf("exit code %d, %q, want %q", code, last, want)
	}
	if !strings.Contains(client.Output(), "\njob tick, due at ") {
		t.Error("the client saw no fires of the servers' job")
	}
}

func TestClientReportsErrors(t *testing.T) {
	dir := t.TempDir()
	code, last := ended(start(t, dir, "client", "-timeout", "2s"))
	if code == 0 || !strings.HasPrefix(last, "FAILED call: ") ||
		!strings.Contains(last, `no instance of service "test_server"`) {
		t.Errorf("exit code %d, %q", code, last)
	}
	testkit.Write(t, filepath.Join(dir, "config.yaml"), "embedded:\n  pfad: x\n")
	code, last = ended(start(t, dir, "client"))
	if code == 0 || !strings.HasPrefix(last, "FAILED config.yaml:2") {
		t.Errorf("exit code %d, %q", code, last)
	}
	servers := start(t, dir, "servers", "-config", "none.yaml")
	if code := servers.Wait(); code == 0 || !strings.Contains(servers.Output(), "none.yaml: no such file") {
		t.Errorf("exit code %d, %s", code, servers.Output())
	}
}

// AstraFlux's own example: the call returns, and every task and subtask runs.
func TestScenario(t *testing.T) {
	dir := t.TempDir()
	servers := start(t, dir, "scenario")
	cmd := exec.Command(programs.Path(t, "scenario"), "client")
	cmd.Dir, cmd.Stderr = dir, t.Output()
	client := testkit.Launch(t, cmd)
	if code := client.Wait(); code != 0 || !regexp.MustCompile(`^RPC call result: 1 2 <nil>\n(.*\n){3}$`).
		MatchString(client.Output()) {
		t.Errorf("exit code %d, %s", code, client.Output())
	}
	received := func(output string) int { return strings.Count(output, "msg=received") }
	servers.Until("18 tasks have begun", func(output string) bool { return received(output) >= 18 })
	servers.Signal(os.Interrupt)
	if code, n := servers.Wait(), received(servers.Output()); code != 0 || n != 18 {
		t.Errorf("exit code %d, and %d of 18 tasks have begun", code, n)
	}
}
