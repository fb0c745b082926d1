package shop_test

import (
	"fmt"
	"image/png"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
)

// The API and a worker share a file. The worker is killed in the middle of an import, and another one completes it. A
// thumbnail is made in a process of its own.
func TestProcessesShareFile(t *testing.T) {
	dir := t.TempDir()
	api := start(t, dir, "api", "-listen", "127.0.0.1:0")
	_, address, _ := strings.Cut(api.Line("listening on "), "listening on ")
	worker := start(t, dir, "worker")
	worker.Line("INFO started")

	send := func(request, body string) (int, string) {
		method, path, _ := strings.Cut(request, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer s3cret")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(answer)
	}
	// poll repeats a request until its answer contains a text.
	poll := func(request, want string) {
		t.Helper()
		testkit.Succeeds(t, request, func() error {
			if status, body := send(request, ""); !strings.Contains(body, want) {
				return fmt.Errorf("%d %s, want %q", status, body, want)
			}
			return nil
		})
	}

	if status, body := send("POST /imports/big", csv(1000)); status != http.StatusAccepted {
		t.Fatalf("import: %d %s", status, body)
	}
	poll("GET /tasks/acme/import/big", `"status":"success"`) // its lines are being imported
	worker.Kill()
	worker = start(t, dir, "worker")
	poll("GET /imports/big", `{"imported":990,"refused":10,`)

	if status, body := send("POST /orders", `{"number": "1", "items": {"sku-1": 2}}`); status != http.StatusAccepted {
		t.Errorf("order: %d %s", status, body)
	}
	poll("GET /tasks/acme/invoice/1", `"result":"Order 1: 2.02, paid."`)

	status, body := send("POST /thumbnails?width=10", picture(t))
	if thumb, err := png.Decode(strings.NewReader(body)); status != http.StatusOK || err != nil ||
		thumb.Bounds().Dx() != 10 {
		t.Errorf("thumbnail: %d, %v", status, err)
	}
	api.Stop()
	worker.Stop()
}

var programs = testkit.NewPrograms("../cmd/...")

func TestMain(m *testing.M) { os.Exit(programs.Run(m)) }

// start starts a program of the shop.
func start(t *testing.T, dir, program string, args ...string) *testkit.Process {
	t.Helper()
	cmd := exec.Command(programs.Path(t, program), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SHOP_TOKENS=s3cret=acme,t0psecret=globex")
	return testkit.Launch(t, cmd)
}
