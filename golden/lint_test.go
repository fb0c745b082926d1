package golden

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/afgen/afgen/gen/emit"
)

// goFiles calls do for each generated Go file below dir.
func goFiles(t *testing.T, dir string, do func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || !isOutput(path) {
			return err
		}
		content, err := os.ReadFile(path)
		do(path, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lint runs staticcheck on the output of all cases without the header, because linters skip generated files.
func lint(t *testing.T, module string) {
	staticcheck, err := exec.Command("go", "tool", "-n", "staticcheck").Output()
	if err != nil {
		t.Fatalf("no staticcheck: %v", err)
	}
	original := map[string][]byte{}
	goFiles(t, module, func(path string, content []byte) {
		original[path] = content
		if err := os.WriteFile(path, bytes.TrimPrefix(content, []byte(emit.Header)), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	defer func() {
		for path, content := range original {
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Error(err)
			}
		}
	}()
	cmd := exec.Command(string(bytes.TrimSpace(staticcheck)), "-checks", "all,-ST1000,-ST1003", "-tests=false", "./...")
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	// Ignore findings in the user's code, but not errors.
	faults := regexp.MustCompile(`(?m)^.*(af_\w*gen\.go:|\(compile\)|\(config\)).*$`).FindAllString(string(out), -1)
	if faults != nil || len(original) == 0 {
		t.Errorf("%d files:\n%s", len(original), strings.Join(faults, "\n"))
	}
}

// short limits generated functions to a dozen lines without comments.
func short(t *testing.T, module string) {
	longest := 0
	goFiles(t, module, func(path string, content []byte) {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, content, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || strings.HasPrefix(fn.Name.Name, "Register") {
				continue // one line per method
			}
			lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
			longest = max(longest, lines)
			if lines > 12 {
				t.Errorf("%s: %s has %d lines", path, fn.Name.Name, lines)
			}
		}
	})
	t.Logf("the longest has %d lines", longest)
}
