package shop_test

import (
	"bufio"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
)

// The API and a worker share a file. The worker is killed in the middle of an import, and another one completes it. A
// thumbnail is made in a process of its own.
func TestProcessesShareFile(t *testing.T) {
	bin, dir := build(t), t.TempDir()
	api := start(t, dir, filepath.Join(bin, "api"), "-listen", "127.0.0.1:0")
	address := strings.TrimPrefix(api.line(t, "listening on "), "listening on ")
	worker := start(t, dir, filepath.Join(bin, "worker"))
	worker.line(t, "INFO started")

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
		var status int
		var body string
		for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if status, body = send(request, ""); strings.Contains(body, want) {
				return
			}
		}
		t.Fatalf("%s: %d %s, want %q", request, status, body, want)
	}

	if status, body := send("POST /imports/big", csv(1000)); status != http.StatusAccepted {
		t.Fatalf("import: %d %s", status, body)
	}
	poll("GET /tasks/acme/import/big", `"status":"success"`) // its lines are being imported
	worker.kill(t)
	worker = start(t, dir, filepath.Join(bin, "worker"))
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
	api.stop(t)
	worker.stop(t)
}

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

// build builds the programs, once if the tests are repeated, and returns their directory.
func build(t *testing.T) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "afgen-orders"); programs.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", programs.dir+string(filepath.Separator), "../cmd/...")
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

// A process is a program of the shop.
type process struct {
	cmd   *exec.Cmd
	lines chan string // of its output
}

// start starts a program, which is killed when the test ends.
func start(t *testing.T, dir, program string, args ...string) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SHOP_TOKENS=s3cret=acme,t0psecret=globex")
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close() // the process has its own
	p := &process{cmd, make(chan string, 1000)}
	go func() {
		defer out.Close()
		defer close(p.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			select {
			case p.lines <- lines.Text():
			default: // its output must not block it
			}
		}
	}()
	return p
}

// line waits for a line of output that contains a text.
func (p *process) line(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("%s has ended without %q", p.cmd.Path, text)
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-timeout:
			t.Fatalf("no %q from %s", text, p.cmd.Path)
		}
	}
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // killed
}

// stop stops a program as a supervisor does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		var output strings.Builder
		for line := range p.lines {
			fmt.Fprintln(&output, line)
		}
		t.Errorf("%s: %v\n%s", p.cmd.Path, err, &output)
	}
}
