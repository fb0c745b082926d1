package emit_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/internal/testkit"
)

// The header is removed, because linters skip generated files.
func TestOutputPassesLinters(t *testing.T) {
	testkit.Long(t, "runs go vet and staticcheck")
	staticcheck, err := exec.Command("go", "tool", "-n", "staticcheck").Output()
	if err != nil {
		t.Skipf("no staticcheck: %v", err)
	}
	dir := t.TempDir()
	stub, err := os.ReadFile("testdata/runtime/runtime.go")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "go.mod", "module github.com/afgen/afgen\n\ngo 1.26\n")
	write(t, dir, "runtime/runtime.go", string(stub))
	for name, p := range map[string]*ir.Package{"shop": shop(), "wide": wide()} {
		write(t, dir, name+"/user.go", declareOwn(p))
		write(t, dir, name+"/"+emit.GoFile, strings.TrimPrefix(mustEmit(t, p), emit.Header))
	}
	for _, command := range [][]string{
		{"go", "vet", "./..."},
		{string(bytes.TrimSpace(staticcheck)), "-checks", "all,-ST1000", "./..."},
	} {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off")
		output, err := cmd.CombinedOutput()
		// Ignore findings in the user's code.
		if findings := about(emit.GoFile, string(output)); findings != "" ||
			err != nil && !strings.Contains(string(output), "user.go:") {
			t.Errorf("%s: %v\n%s", command, err, output)
		}
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	testkit.Write(t, filepath.Join(dir, filepath.FromSlash(name)), content)
}

// about returns the lines of output that mention a file.
func about(file, output string) string {
	var b strings.Builder
	for line := range strings.Lines(output) {
		if strings.Contains(line, file+":") {
			b.WriteString(line)
		}
	}
	return b.String()
}
