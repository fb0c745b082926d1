package main_test

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
)

var programs = testkit.NewPrograms(".")

func TestMain(m *testing.M) { os.Exit(programs.Run(m)) }

// start starts the program in a directory with the environment env alone.
func start(t *testing.T, dir string, env []string, args ...string) *testkit.Process {
	t.Helper()
	cmd := exec.Command(programs.Path(t, "examples"), args...)
	cmd.Dir, cmd.Env = dir, append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, env...)
	return testkit.Launch(t, cmd)
}

// publish requests that an album is published. parent is the client's traceparent, or "".
func publish(t *testing.T, p *testkit.Process, album, parent string) {
	t.Helper()
	_, address, _ := strings.Cut(p.Line("listening on "), "listening on ")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/albums/"+album, nil)
	testkit.Must(t, err)
	if parent != "" {
		r.Header.Set("traceparent", parent)
	}
	response, err := http.DefaultClient.Do(r)
	testkit.Must(t, err)
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusAccepted {
		t.Fatal(response.Status, err)
	}
}
