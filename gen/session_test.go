package gen_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/manifest"
)

// settle waits until written files are old enough to be trusted by a manifest.
func settle() {
	for start := time.Now(); time.Since(start) < 25*time.Millisecond; time.Sleep(time.Millisecond) {
	}
}

// module is a tree with a runtime for the generated code, so that a manifest can be taken.
func module(t testing.TB, files map[string]string) string {
	dir := tree(t, files)
	put(t, dir, "rt/go.mod", "module github.com/afgen/afgen\n\ngo 1.26\n")
	put(t, dir, "rt/runtime/runtime.go", "package runtime\n")
	put(t, dir, "go.mod", "module example.com/m\n\ngo 1.26\n\nrequire github.com/afgen/afgen v0.0.0\n\n"+
		"replace github.com/afgen/afgen => ./rt\n")
	return dir
}

func planWith(t testing.TB, dir string, store manifest.Store) *gen.Plan {
	t.Helper()
	p, err := gen.Generate(t.Context(), dir, []string{"./..."}, gen.Options{Manifests: store})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestUnchangedRunStartsNoProcess(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the wrapper of the go command is a shell script")
	}
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	bin, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >> '%s'\nexec '%s' \"$@\"\n", log, goCommand)
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	dir, store := module(t, map[string]string{"calc/calc.go": calc}), manifest.Store(t.TempDir())
	calls := func() string {
		data, _ := os.ReadFile(log)
		os.Remove(log)
		return string(data)
	}
	settle()
	apply(t, planWith(t, dir, store))
	if c := calls(); strings.Count(c, "-deps=true") != 1 || strings.Count(c, "\n") > 3 {
		t.Errorf("calls of the go command in the first run:\n%s", c)
	}
	for range 3 {
		if p := planWith(t, dir, store); !p.Unchanged || !p.Annotated || len(p.Changes)+len(p.Diagnostics) > 0 {
			t.Errorf("plan of the next run: %+v", p)
		}
	}
	if c := calls(); c != "" {
		t.Errorf("calls of the go command without changes:\n%s", c)
	}
}

// Output is not generated again if neither its input nor the file has changed.
func TestChangeOfOnePackageReusesOtherOutputs(t *testing.T) {
	other := strings.Replace(strings.Replace(calc, "package calc", "package other", 1), "//af:rpc", "//af:rpc name=other",
		1)
	dir, store := module(t, map[string]string{"calc/calc.go": calc, "other/other.go": other}), manifest.Store(t.TempDir())
	settle()
	apply(t, planWith(t, dir, store))
	out := filepath.Join(dir, "calc", "af_gen.go")
	before, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, "other/other.go", strings.Replace(other, "Add", "Sum", 1))
	settle()
	p := planWith(t, dir, store)
	if got := fmt.Sprint(changes(p, dir)); got != "[stale other/af.contract.json stale other/af_gen.go]" {
		t.Errorf("changes %s", got)
	}
	apply(t, p)
	if after, err := os.Stat(out); err != nil || !os.SameFile(before, after) {
		t.Errorf("the other package's output was written: %v", err)
	}

	put(t, dir, "calc/af_gen.go", string(want)+"// edited\n")
	put(t, dir, "other/other.go", other)
	settle()
	p = planWith(t, dir, store)
	if len(p.Changes) != 3 {
		t.Errorf("changes %s", changes(p, dir))
	}
	apply(t, p)
	if got, err := os.ReadFile(out); err != nil || string(got) != string(want) {
		t.Errorf("%v, got\n%s", err, got)
	}
}

func TestConcurrentRuns(t *testing.T) {
	dir, store := module(t, map[string]string{"calc/calc.go": calc}), manifest.Store(t.TempDir())
	settle()
	for round := range 3 {
		put(t, dir, "calc/calc.go", strings.Replace(calc, "Add", fmt.Sprint("Add", round), 1))
		var runs sync.WaitGroup
		for range 4 {
			runs.Go(func() {
				p, err := gen.Generate(t.Context(), dir, []string{"./..."}, gen.Options{Manifests: store})
				if err == nil {
					err = p.Apply()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		runs.Wait()
		if p := plan(t, dir); len(p.Changes) > 0 {
			t.Errorf("round %d: afterwards %v", round, changes(p, dir))
		}
	}
}

func TestNoManifestForUnknownInputs(t *testing.T) {
	for name, patterns := range map[string][]string{"import_path_pattern": {"example.com/m/..."},
		"missing_package": {"./..."}} {
		files := map[string]string{"calc/calc.go": calc}
		if name == "missing_package" {
			files["calc/more.go"] = "package calc\n\nimport _ \"example.com/missing\"\n"
		}
		dir, store := module(t, files), manifest.Store(t.TempDir())
		settle()
		for range 2 {
			p, err := gen.Generate(t.Context(), dir, patterns, gen.Options{Manifests: store})
			if err != nil {
				t.Fatal(err)
			}
			if p.Unchanged {
				t.Errorf("%s: unchanged", name)
			}
			apply(t, p)
		}
	}
}
