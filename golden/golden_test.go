// Package golden contains golden tests of afgen.
//
// Each case is a txtar file with a description as its comment. Its files are one or more packages, whose import paths
// begin with golden.test/<case>. The names of expected files begin with want:
//
//	want:af_gen.go            generated file, with its directory; empty if it is removed
//	want:af.contract.json
//	want:diagnostics          output of afgen; the case has no generated files
//	want:warnings             output of afgen
//	want:nobuild              why the case can't be built
//	want:stdout               output of run/main.go, if it exists
//
// go test -update rewrites the expected files. Review the changes like code.
package golden

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/modfile"
	"golang.org/x/tools/txtar"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/internal/testkit"
)

var update = flag.Bool("update", false, "rewrite the expected files of all cases")

// A golden is one case. All valid cases are in one module, so that one build compiles all output. Cases with
// diagnostics and those that can't be built are in other modules.
type golden struct {
	file    string // the txtar
	name    string
	dir     string // directory of the case in the module
	archive *txtar.Archive
	bad     bool // it has diagnostics
}

func TestGolden(t *testing.T) {
	good, bad, unbuilt := module(t), module(t), module(t)
	var cases []*golden
	files, err := filepath.Glob("*.txtar")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, f := range files {
		cases = append(cases, read(t, f, good, bad, unbuilt))
	}
	if *update {
		defer rewrite(t, cases) // also if a later test fails
	}
	t.Run("case", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t)
			})
		}
	})
	if t.Failed() {
		return
	}
	// Vet checks all types, and builds what other packages import. The programs, and those of random types, are built.
	t.Run("vet", func(t *testing.T) {
		testkit.Long(t, "vets all packages")
		goCommand(t, good, "vet", "./...")
	})
	t.Run("linters", func(t *testing.T) {
		testkit.Long(t, "runs staticcheck")
		lint(t, good)
	})
	t.Run("short_methods", func(t *testing.T) { short(t, good) })
	t.Run("programs", func(t *testing.T) {
		testkit.Long(t, "builds and runs programs")
		for _, c := range cases {
			if _, err := os.Stat(filepath.Join(c.dir, "run")); err == nil {
				c.compare(t, "want:stdout", goCommand(t, c.dir, "run", "./run"))
			}
		}
	})
	t.Run("orphaned_output", func(t *testing.T) {
		for _, c := range cases {
			if !c.bad {
				c.orphan(t)
			}
		}
	})
}

func rewrite(t *testing.T, cases []*golden) {
	for _, c := range cases {
		if err := os.WriteFile(c.file, txtar.Format(c.archive), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// Each diagnostic has a case, except those that a txtar file can't cause.
func TestDiagnosticsHaveCases(t *testing.T) {
	elsewhere := []diag.Code{diag.Internal, diag.OutsideModule} // a bug, and symbolic links
	files, err := filepath.Glob("*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, f := range files {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range a.Files {
			if file.Name == "want:diagnostics" || file.Name == "want:warnings" {
				all = append(all, file.Data...)
			}
		}
	}
	for _, e := range diag.Entries() {
		if !bytes.Contains(all, []byte(": "+string(e.Code)+": ")) && !slices.Contains(elsewhere, e.Code) {
			t.Errorf("no case for %s (%s)", e.Code, e.Title)
		}
	}
}

// module creates an empty module that uses this afgen, with the versions of its requirements.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := new(modfile.File)
	add := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	add(m.AddModuleStmt("golden.test"))
	add(m.AddGoStmt(ours.Go.Version))
	add(m.AddRequire(ours.Module.Mod.Path, "v0.0.0"))
	add(m.AddReplace(ours.Module.Mod.Path, "", root, ""))
	for _, r := range ours.Require {
		m.AddNewRequire(r.Mod.Path, r.Mod.Version, true)
	}
	data, err = m.Format()
	add(err)
	add(os.WriteFile(filepath.Join(dir, "go.mod"), data, 0o644))
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	add(err)
	add(os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o644))
	return dir
}

// parse parses the archive of a case.
func parse(t *testing.T, file string) *txtar.Archive {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(a.Comment)) == 0 {
		t.Errorf("%s: the case has no description", file)
	}
	return a
}

// read writes the files of a case to its module.
func read(t *testing.T, file, good, bad, unbuilt string) *golden {
	t.Helper()
	a := parse(t, file)
	c := &golden{file: file, name: strings.TrimSuffix(file, ".txtar"), archive: a}
	has := func(name string) bool {
		return slices.ContainsFunc(a.Files, func(f txtar.File) bool { return f.Name == name })
	}
	c.bad = has("want:diagnostics")
	module := good
	switch {
	case c.bad:
		module = bad
	case has("want:nobuild"):
		module = unbuilt
	}
	c.dir = filepath.Join(module, c.name)
	for _, f := range a.Files {
		if strings.HasPrefix(f.Name, "want:") {
			continue
		}
		testkit.Write(t, filepath.Join(c.dir, filepath.FromSlash(f.Name)), string(f.Data))
	}
	return c
}

// generate returns the plan of a case.
func (c *golden) generate(t *testing.T) *gen.Plan {
	t.Helper()
	plan, err := gen.Generate(context.Background(), c.dir, []string{"./..."}, gen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func (c *golden) run(t *testing.T) {
	plan := c.generate(t)
	var said bytes.Buffer
	if err := diag.Render(&said, plan.Diagnostics, plan.Source, c.dir); err != nil {
		t.Fatal(err)
	}
	if c.bad {
		if said.Len() == 0 {
			t.Fatal("no diagnostics")
		}
		c.compare(t, "want:diagnostics", said.Bytes())
		if len(plan.Changes) > 0 {
			t.Error("changes despite diagnostics")
		}
		return
	}
	if said.Len() > 0 {
		t.Fatalf("unexpected diagnostics:\n%s", said.String())
	}
	if len(plan.Warnings) > 0 {
		if err := diag.Render(&said, plan.Warnings, plan.Source, c.dir); err != nil {
			t.Fatal(err)
		}
		c.compare(t, "want:warnings", said.Bytes())
	}
	c.compareOutput(t, plan)
	if err := plan.Apply(); err != nil {
		t.Fatal(err)
	}
	c.clean(t)
}

// compareOutput compares the files of the plan with the archive.
func (c *golden) compareOutput(t *testing.T, plan *gen.Plan) {
	t.Helper()
	made := map[string]bool{"want:stdout": true, "want:nobuild": true, "want:warnings": len(plan.Warnings) > 0}
	for _, ch := range plan.Changes {
		rel, err := filepath.Rel(c.dir, ch.Path)
		if err != nil {
			t.Fatal(err)
		}
		name := "want:" + filepath.ToSlash(rel)
		made[name] = true
		c.compare(t, name, ch.New)
	}
	c.archive.Files = slices.DeleteFunc(c.archive.Files, func(f txtar.File) bool {
		surplus := strings.HasPrefix(f.Name, "want:") && !made[f.Name]
		if surplus && !*update {
			t.Errorf("%s was not generated", f.Name)
		}
		return surplus
	})
}

// compare compares got with a file of the archive, or updates the file.
func (c *golden) compare(t *testing.T, name string, got []byte) {
	t.Helper()
	i := slices.IndexFunc(c.archive.Files, func(f txtar.File) bool { return f.Name == name })
	switch {
	case *update && i < 0:
		c.archive.Files = append(c.archive.Files, txtar.File{Name: name, Data: got})
	case *update:
		c.archive.Files[i].Data = got
	case i < 0:
		t.Errorf("%s: no %s; go test ./golden -update writes it:\n%s", c.file, name, got)
	default:
		if d := cmp.Diff(string(c.archive.Files[i].Data), string(got)); d != "" {
			t.Errorf("%s: %s (-want +got); go test ./golden -update rewrites it:\n%s", c.file, name, d)
		}
	}
}

// clean checks that there are no changes after Apply.
func (c *golden) clean(t *testing.T) {
	t.Helper()
	for _, ch := range c.generate(t).Changes {
		t.Errorf("%s: %s is %s after generate", c.name, ch.Path, ch.Kind)
	}
}

// orphan removes the input and checks that all output is removed, too.
func (c *golden) orphan(t *testing.T) {
	t.Helper()
	before := c.outputs(t)
	for _, f := range c.archive.Files {
		if strings.HasPrefix(f.Name, "want:") || isOutput(f.Name) {
			continue
		}
		if err := os.Remove(filepath.Join(c.dir, filepath.FromSlash(f.Name))); err != nil {
			t.Fatal(err)
		}
	}
	plan := c.generate(t)
	for _, ch := range plan.Changes {
		if ch.Kind != gen.Orphaned {
			t.Errorf("%s: %s is %s without input", c.name, ch.Path, ch.Kind)
		}
	}
	if err := plan.Apply(); err != nil {
		t.Fatal(err)
	}
	if after := c.outputs(t); len(before) == 0 || len(after) > 0 {
		t.Errorf("%s: output before %q, without input %q", c.name, before, after)
	}
}

// outputs returns the generated files of a case.
func (c *golden) outputs(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(c.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && isOutput(path) {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func isOutput(name string) bool {
	return emit.IsOutput(name, nil)
}

// goEnv returns the environment of the go command in a module of a test.
func goEnv() []string {
	return append(os.Environ(), "GOFLAGS=-mod=mod "+testkit.GoFlags(), "GOWORK=off")
}

// goCommand runs the go command and returns its output.
func goCommand(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = goEnv()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return out
}
