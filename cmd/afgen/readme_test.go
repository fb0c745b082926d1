package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
)

// The README's first five minutes, word by word: its files, its commands (against this clone), what they print, and what
// it says is generated and reported.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	testkit.Long(t, "does what the README says in a new module")
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{}
	for _, m := range regexp.MustCompile("(?ms)^`([a-z/]+\\.go)`:\n\n```go\n(.*?)^```").FindAllStringSubmatch(string(readme), -1) {
		files[m[1]] = m[2]
		write(t, filepath.Join(dir, m[1]), m[2])
	}
	if len(files) != 2 {
		t.Fatalf("found %d files", len(files))
	}
	goSum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "go.sum"), string(goSum))
	inDir(t, dir, "go", "mod", "init", "example.com/shop")
	inDir(t, dir, "go", "mod", "edit", "-replace", "github.com/afgen/afgen="+root, "-require", "github.com/afgen/afgen@v0.0.0",
		"-tool", "github.com/afgen/afgen/cmd/afgen")
	inDir(t, dir, "go", "mod", "tidy")
	inDir(t, dir, "go", "generate", "./...")
	inDir(t, dir, "go", "vet", "./...")
	if got, want := inDir(t, dir, "go", "run", "."), block(t, readme, "prints, beside two lines of the log,\n\n```\n"); got != want {
		t.Errorf("go run . prints\n%s\nand the README says\n%s", got, want)
	}

	generated, err := os.ReadFile(filepath.Join(dir, "calc", "af_gen.go"))
	if err != nil {
		t.Fatal(err)
	}
	rest := string(generated)
	for line := range strings.Lines(block(t, readme, "`calc/af_gen.go`, in the main:\n\n```go\n")) {
		_, after, ok := strings.Cut(rest, line)
		if !ok {
			t.Errorf("the generated file has no line %q there", line)
			continue
		}
		rest = after
	}

	write(t, filepath.Join(dir, "calc", "calc.go"), strings.Replace(files["calc/calc.go"], "//af:rpc", "//af:rpc timout=5s", 1))
	cmd := exec.Command("go", "tool", "afgen", "./...")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), block(t, readme, "nothing is written:\n\n```\n")) {
		t.Errorf("the mistake prints\n%s", out)
	}
}

// block returns a fenced block of the README by the text before it.
func block(t *testing.T, readme []byte, after string) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(readme), after)
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("the README has no block after %q", after)
	}
	return text
}

var write = testkit.Write

func inDir(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS="+testkit.GoFlags(), "GOWORK=off", "AFGEN_CACHE=off")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}
