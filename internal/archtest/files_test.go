package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Examples listen on the loopback interface only: they are copied, and probes and dashboards must not be public.
func TestExamplesListenOnOneInterface(t *testing.T) {
	all := regexp.MustCompile(`Listen\w*\(([^()]*, *)?"(0\.0\.0\.0|\[::\]|)?:\d*"`)
	if !all.MatchString(`http.ListenAndServe(":8081", nil)`) || !all.MatchString(`net.Listen("tcp", "0.0.0.0:80")`) ||
		all.MatchString(`Listen("127.0.0.1:1")`) {
		t.Fatal(all)
	}
	eachFile(t, []string{".go", ".md", ".tmpl", ".txt"}, func(path, text string) {
		if m := all.FindString(text); m != "" {
			t.Errorf("%s: %s", path, m)
		}
	})
}

// Package runtime has the public API and wires its parts, which are packages below runtime/internal.
func TestPackageRuntimeHasOnlyTheAPI(t *testing.T) {
	const most = 6500
	lines := 0
	eachFile(t, []string{".go"}, func(path, text string) {
		if filepath.Dir(path) == filepath.Join(root, "runtime") && !strings.HasSuffix(path, "_test.go") {
			lines += strings.Count(text, "\n")
		}
	})
	if lines == 0 || lines > most {
		t.Errorf("package runtime has %d lines, want at most %d: move what is not API below runtime/internal", lines, most)
	}
}

// OpenTelemetry and Prometheus are dependencies of the nested modules otel and metrics only, so that programs without
// them do not get their versions.
func TestModulesRequireOnlyTheirOwnExporters(t *testing.T) {
	const otel, prometheus = "go.opentelemetry.io", "prometheus/client_golang"
	for file, want := range map[string][]string{
		"go.mod": nil, "go.sum": nil, "otel/go.mod": {otel}, "metrics/go.mod": {prometheus},
		"otel/examples/go.mod": {otel, prometheus},
	} {
		text := read(t, file)
		for _, module := range []string{otel, prometheus} {
			if got := strings.Contains(text, module); got != slices.Contains(want, module) {
				t.Errorf("%s mentions %s: %v", file, module, got)
			}
		}
	}
}

// Only testkit.Long skips slow tests, so that each of them runs in make test-all.
func TestOnlyTestkitSkipsLongTests(t *testing.T) {
	skip := regexp.MustCompile(`\.Skipf?\("long`)
	if !skip.MatchString(`t.Skip("long: waits")`) {
		t.Fatal(skip)
	}
	eachFile(t, []string{".go"}, func(path, text string) {
		if m := skip.FindString(text); m != "" && !strings.HasSuffix(path, "testkit/tier.go") {
			t.Errorf("%s: %s: call testkit.Long", path, m)
		}
	})
}

// Only package bubble calls synctest.Test, which crashes with the race detector now and then.
func TestVirtualTimeIsFromBubble(t *testing.T) {
	call := regexp.MustCompile(`\bsynctest\.(Test|Run)\(`)
	if !call.MatchString(`synctest.Test(t, f)`) || call.MatchString(`synctest.Wait()`) {
		t.Fatal(call)
	}
	eachFile(t, []string{".go", ".txtar", ".tmpl"}, func(path, text string) {
		if m := call.FindString(text); m != "" && !strings.HasSuffix(path, "internal/bubble/bubble.go") {
			t.Errorf("%s: %s: call bubble.Test", path, m)
		}
	})
}

// Names of subtests have no spaces and no commas, so that -run selects them as written.
func TestSubtestsHaveNamesForRun(t *testing.T) {
	name := regexp.MustCompile(`\bt\.Run\("[^"]*[ ,][^"]*"`)
	if !name.MatchString(`t.Run("a stop wins", f)`) || name.MatchString(`t.Run("stop_wins", f)`) {
		t.Fatal(name)
	}
	eachFile(t, []string{".go"}, func(path, text string) {
		if m := name.FindString(text); m != "" {
			t.Errorf("%s: %s", path, m)
		}
	})
}

// eachFile calls fn with the path, below the root, and the text of each file with one of these extensions, except for
// this file.
func eachFile(t *testing.T, extensions []string, fn func(path, text string)) {
	t.Helper()
	read := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !slices.Contains(extensions, filepath.Ext(path)) ||
			strings.HasSuffix(path, "archtest/files_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		read++
		fn(path, string(text))
		return err
	})
	if err != nil || read < 300 {
		t.Fatalf("%v after %d files", err, read)
	}
}
