// Package golden holds afgen's golden cases: what goes in, what comes out, and what is said about mistakes.
//
// Each case is a txtar file. Its comment says what it shows. Its files are a package (or several, in folders), whose
// import path begins with golden.test/<case>. What is wanted stands in files named want:
//
//	want:af_gen.go            the output, one for each folder that has any; empty where it is to be removed
//	want:af.contract.json
//	want:diagnostics          what afgen prints; such a case has no output
//	want:warnings             what it prints in addition to the output
//	want:nobuild              why the output is right and yet the case can't be built
//	want:stdout               what run/main.go prints, where the case has one
//
// Go test -update rewrites what is wanted; review the difference as you would review code.
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

var update = flag.Bool("update", false, "rewrite the wanted files of all cases")

// A golden is one case, laid out in a module of its own kind: the good ones together, so that one build shows that all
// output compiles, the bad ones and those that can't be built apart.
type golden struct {
	file    string // the txtar
	name    string
	dir     string // the case's folder in the module
	archive *txtar.Archive
	bad     bool // it has diagnostics and no output
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
		defer rewrite(t, cases) // also of those that fail further down
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
	t.Run("build_and_vet", func(t *testing.T) {
		testkit.Long(t, "builds and vets all packages")
		goCommand(t, good, "build", "./...")
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

// Every code must be shown by a case, as the user sees it; those that no input can bring about are listed.
func TestEveryDiagnosticHasACase(t *testing.T) {
	elsewhere := []diag.Code{diag.Internal, diag.OutsideModule} // a bug, and a txtar has no links
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
			t.Errorf("no case shows %s (%s)", e.Code, e.Title)
		}
	}
}

// module makes an empty module that builds against this afgen, with the versions that afgen itself has.
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

// parse reads the archive of a case.
func parse(t *testing.T, file string) *txtar.Archive {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(a.Comment)) == 0 {
		t.Errorf("%s: the comment of a case must tell what it shows", file)
	}
	return a
}

// read lays a case out in the module it belongs to.
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

// generate plans the output of a case.
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
			t.Fatal("nothing is wrong with it")
		}
		c.compare(t, "want:diagnostics", said.Bytes())
		if len(plan.Changes) > 0 {
			t.Error("output in spite of diagnostics")
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

// compareOutput demands each file of the plan in the archive, and nothing beside.
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

// compare demands a file of the archive, or puts it there.
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

// clean demands that nothing has to change after Apply: a second run makes the same of the same, beside its own output.
func (c *golden) clean(t *testing.T) {
	t.Helper()
	for _, ch := range c.generate(t).Changes {
		t.Errorf("%s: %s is %s right after generate", c.name, ch.Path, ch.Kind)
	}
}

// orphan removes the input and demands that all output goes with it.
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

// outputs are the generated files below a case.
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

// goEnv is the environment of the go command in a module of a test.
func goEnv() []string {
	return append(os.Environ(), "GOFLAGS=-mod=mod "+testkit.GoFlags(), "GOWORK=off")
}

// goCommand runs the go command and returns what it printed.
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
