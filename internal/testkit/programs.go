package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// Programs are the programs that the tests of a package run. They are built once, when the first test needs one.
type Programs struct {
	packages []string
	once     sync.Once
	dir      string
	err      error
}

// NewPrograms returns the programs of packages, which are arguments of go build such as "./cmd/...". Each is called
// like its directory.
func NewPrograms(packages ...string) *Programs { return &Programs{packages: packages} }

// Run runs the tests, removes the programs and returns the exit code. TestMain calls it.
func (p *Programs) Run(m *testing.M) (code int) {
	code = m.Run()
	if err := os.RemoveAll(p.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// Path returns the path of a program.
func (p *Programs) Path(t testing.TB, name string) string {
	t.Helper()
	p.once.Do(p.build)
	if p.err != nil {
		t.Fatal(p.err)
	}
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(p.dir, name)
}

func (p *Programs) build() {
	if p.dir, p.err = os.MkdirTemp("", "afgen-programs"); p.err != nil {
		return
	}
	cmd := exec.Command("go", append([]string{"build", "-o", p.dir + string(filepath.Separator)}, p.packages...)...)
	cmd.Env = append(os.Environ(), "GOFLAGS="+GoFlags())
	if out, err := cmd.CombinedOutput(); err != nil {
		p.err = fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
}
