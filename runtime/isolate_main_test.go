//go:build unix

package runtime_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
)

// This test runs a program on the embedded backend. It is built without -race, which would reserve more memory than the
// limit.
func TestProgramWithIsolatedTasks(t *testing.T) {
	testkit.Long(t, "compiles SQLite once more")
	bin := filepath.Join(t.TempDir(), "isolated")
	if out, err := exec.Command("go", "build", "-o", bin, "./testdata/isolated").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(t *testing.T, args ...string) string {
		out, err := exec.Command(bin, append(args, "-file", filepath.Join(t.TempDir(), "af.db"))...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	t.Run("main_ends_once", func(t *testing.T) {
		if got, want := run(t, "-do", "something"), "result: did something with \nend of main\n"; got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
	t.Run("memory", func(t *testing.T) {
		if goruntime.GOOS != "linux" {
			t.Log("this system has no memory limit")
			return
		}
		got := run(t, "-do", "devour", "-memory", fmt.Sprint(256<<20))
		if !strings.Contains(got, "error: resource_exhausted: ") || !strings.Contains(got, "memory") {
			t.Errorf("got %s", got)
		}
		if got := run(t, "-do", "something", "-memory", fmt.Sprint(256<<20)); !strings.Contains(got, "did something") {
			t.Errorf("within the limit: %s", got)
		}
	})
	t.Run("parent_killed", func(t *testing.T) {
		p := testkit.Launch(t, exec.Command(bin, "-do", "linger", "-file", filepath.Join(t.TempDir(), "af.db")))
		line := p.Line("pids ")
		var child, grandchild int
		if _, err := fmt.Sscanf(line, "pids %d %d", &child, &grandchild); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if gone(child) || gone(grandchild) {
			t.Fatal("the processes are not running")
		}
		p.Kill()
		wantGone(t, child, grandchild)
	})
}
