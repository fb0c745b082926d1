package main_test

import (
	"bytes"
	"fmt"
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

// patience limits how long a test waits for what must happen.
const patience = time.Minute

var program struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(program.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// build builds the program, once if the tests are repeated.
func build(t *testing.T) string {
	t.Helper()
	program.once.Do(func() {
		if program.dir, program.err = os.MkdirTemp("", "afgen-gallery"); program.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(program.dir, "gallery"), ".")
		cmd.Env = append(os.Environ(), "GOFLAGS="+testkit.GoFlags())
		if out, err := cmd.CombinedOutput(); err != nil {
			program.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return filepath.Join(program.dir, "gallery")
}

// A process is a running program.
type process struct {
	*testing.T
	cmd *exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer // stdout and stderr
}

// Write keeps output.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// start starts the program in a directory with the environment env alone. It is killed when the test ends.
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	p := &process{T: t, cmd: exec.CommandContext(t.Context(), build(t), args...)}
	p.cmd.Dir, p.cmd.Env = dir, append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_, _ = p.cmd.Process.Kill(), p.cmd.Wait()
		}
	})
	return p
}

// stop stops the program as a supervisor does, and returns its output. It must not fail.
func (p *process) stop() string {
	p.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.Errorf("%v\n%s", err, p.output())
	}
	return p.output()
}

// address waits until the program listens.
func (p *process) address() (address string) {
	p.Helper()
	p.within("it listens", func() bool {
		_, after, ok := strings.Cut(p.output(), "listening on ")
		address, _, _ = strings.Cut(after, "\n")
		return ok
	})
	return address
}

// within waits until a condition holds.
func (p *process) within(what string, holds func() bool) {
	p.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("not within %v: %s\n%s", patience, what, p.output())
		}
	}
}

// publish requests that an album is published. parent is the client's traceparent, or "".
func (p *process) publish(album, parent string) {
	p.Helper()
	r, err := http.NewRequestWithContext(p.Context(), http.MethodPost, "http://"+p.address()+"/albums/"+album, nil)
	if err != nil {
		p.Fatal(err)
	}
	if parent != "" {
		r.Header.Set("traceparent", parent)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		p.Fatal(err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusAccepted {
		p.Fatal(response.Status, err)
	}
}
