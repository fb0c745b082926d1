package scan_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/scan"
	"github.com/afgen/afgen/internal/testkit"
)

// nested returns a module with annotated packages, some of them in directories that "..." doesn't match.
func nested(t *testing.T) string {
	dir := module(t, "")
	for _, name := range []string{"root", "a", "b", "in", "data", "vendored", "hidden", "under", "other"} {
		sub := map[string]string{
			"root": ".", "in": "a/in", "data": "a/testdata/data", "vendored": "b/vendor/vendored", "hidden": ".git/hidden",
			"under": "_old/under", "other": "nested/other",
		}[name]
		if sub == "" {
			sub = name
		}
		write(t, dir, sub+"/"+name+".go", service(name))
	}
	write(t, dir, "nested/go.mod", "module nested.test\n\ngo 1.26\n")
	write(t, dir, "plain/plain.go", "package plain\n")
	return dir
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	dir := nested(t)
	for _, tc := range []struct {
		name     string
		from     string
		patterns []string
		want     []string
	}{
		{"none", ".", nil, []string{"x.test"}},
		{"dot", ".", []string{"."}, []string{"x.test"}},
		{"dots", ".", []string{"./..."}, []string{"x.test", "x.test/a", "x.test/a/in", "x.test/b"}},
		{"bare_dots", ".", []string{"..."}, []string{"x.test", "x.test/a", "x.test/a/in", "x.test/b"}},
		{"below", ".", []string{"./a/..."}, []string{"x.test/a", "x.test/a/in"}},
		{"several", ".", []string{"./a", "./b/", "./a"}, []string{"x.test/a", "x.test/b"}},
		{"import_path_dots", ".", []string{"x.test/a/..."}, []string{"x.test/a", "x.test/a/in"}},
		{"import_path_twice", ".", []string{"x.test/b", "./b"}, []string{"x.test/b"}},
		{"not_annotated", ".", []string{"./plain"}, nil},
		{"from_below", "a", []string{"./..."}, []string{"x.test/a", "x.test/a/in"}},
		{"from_sibling", "a", []string{"../b"}, []string{"x.test/b"}},
		{"dots_above", "plain", []string{"../..."}, []string{"x.test", "x.test/a", "x.test/a/in", "x.test/b"}},
		{"absolute", "a", []string{filepath.Join(dir, "b")}, []string{"x.test/b"}},
		{"testdata_by_name", ".", []string{"./a/testdata/data"}, []string{"x.test/a/testdata/data"}},
		{"nested_module", "nested", []string{"./..."}, []string{"nested.test/other"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			res := run(t, config(filepath.Join(dir, tc.from), tc.patterns...))
			if d := cmp.Diff(tc.want, paths(res)); d != "" {
				t.Error(d)
			}
			if len(res.Diagnostics) > 0 {
				t.Error(textsOf(dir, res.Diagnostics))
			}
		})
	}
}

func TestPatternsWithoutMatch(t *testing.T) {
	t.Parallel()
	dir := nested(t)
	for _, test := range []struct{ name, pattern, want string }{
		{"missing", "./missing", "missing"},
		{"missing_dots", "./missing/...", "missing"},
		{"file", "./a/a.go", "not files"},
		{"import_path", "x.test/none", "x.test/none"},
		{"other_module", "./nested/other", "nested"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := scan.Scan(t.Context(), config(dir, test.pattern))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestSkippedFiles(t *testing.T) {
	t.Parallel()
	dir := module(t, "-- calc.go --\n"+service("calc")+`
-- calc_plan9.go --
package calc

//af:rpc
type Plan9 struct{}
-- tagged.go --
//go:build special

package calc

//af:worker
type Special struct{}
-- ignored.go --
//go:build ignore

package calc

//af:rpc
type Ignored struct{}
-- script.go --
//go:build ignore

package main

//af:rpc
type Script struct{}
-- calc_test.go --
package calc

//af:rcp
type Tested struct{}
-- _draft.go --
package calc

//af:rpc
type Draft struct{}
-- prose_test.go --
package calc

// This comment only mentions the directive af:rpc.
`)
	reasons := func(cfg scan.Config) map[string]string {
		out := map[string]string{}
		for _, s := range run(t, cfg).Skipped {
			out[filepath.Base(s.File)] = s.Reason
		}
		return out
	}
	// Files for other systems and tags are scanned on a system that includes them.
	want := map[string]string{
		"ignored.go":   "this go command knows no system that satisfies its build constraint ignore",
		"calc_test.go": "test files are not scanned",
		"script.go":    "excluded by build constraints, and in another package",
		"_draft.go":    "the go command ignores files with this name",
	}
	tagged, plan9 := config(dir, "."), config(dir, ".")
	tagged.Tags, plan9.Env = "special", append(os.Environ(), "GOOS=plan9")
	for _, cfg := range []scan.Config{config(dir, "./..."), tagged, plan9} {
		if d := cmp.Diff(want, reasons(cfg)); d != "" {
			t.Error(d)
		}
	}
}

func TestFindsOutputsWithoutAnnotations(t *testing.T) {
	t.Parallel()
	dir := module(t, "-- old/old.go --\npackage old\n-- old/af_gen.go --\n"+header+"\npackage old\n"+
		"-- old/af.contract.json --\n"+header+
		"-- old/data.json --\n"+header+"-- mine/af_gen.go --\npackage mine\n-- old/old_test.go --\npackage old\n\n"+
		"//af:rpc\ntype T struct{}\n")
	for _, patterns := range [][]string{{"./..."}, {"x.test/..."}, {"./old", "x.test/old", "./..."}} {
		var got []string
		res := run(t, config(dir, patterns...))
		for _, f := range res.Outputs {
			rel, _ := filepath.Rel(dir, f)
			got = append(got, filepath.ToSlash(rel))
		}
		if d := cmp.Diff([]string{"old/af.contract.json", "old/af_gen.go"}, got); d != "" {
			t.Errorf("%s: %s", patterns, d)
		}
		if len(res.Skipped) != 1 {
			t.Errorf("%s: skipped %v", patterns, res.Skipped)
		}
		if len(res.Diagnostics) > 0 {
			t.Error(textsOf(dir, res.Diagnostics))
		}
	}
}

// The working directory may be a symbolic link. Editors mark open files with dangling links.
func TestSymbolicLinks(t *testing.T) {
	t.Parallel()
	dir := nested(t)
	link := filepath.Join(t.TempDir(), "link")
	testkit.Symlink(t, dir, link)
	testkit.Symlink(t, "b", filepath.Join(dir, "linked"))
	testkit.Symlink(t, "user@host.1234", filepath.Join(dir, "a", ".#a.go"))
	res := run(t, config(link, "./..."))
	if d := cmp.Diff([]string{"x.test", "x.test/a", "x.test/a/in", "x.test/b"}, paths(res)); d != "" {
		t.Error(d)
	}
	for _, p := range res.Packages { // the directories of outputs
		if !strings.HasPrefix(p.Dir, link) {
			t.Errorf("%s is in %s, not below %s", p.IR.Path, p.Dir, link)
		}
	}
}

func TestIgnoreDirectivesOfGoMod(t *testing.T) {
	t.Parallel()
	dir := nested(t)
	write(t, dir, "b/in/in.go", service("bin"))
	write(t, dir, "b/in/a/a.go", service("bina"))
	write(t, dir, "within/within.go", service("within"))
	for _, tc := range []struct{ ignore, from string }{
		{"ignore ./a", "."}, {"ignore a", "."}, {"ignore in", "."}, {"ignore ./in", "."}, {"ignore b/in", "."},
		{"ignore (\n./b/in/a\nin/a\n)", "."},
		{"ignore ./b/in", "b"}, {"ignore in", "a"}, {"ignore wit", "."},
	} {
		write(t, dir, "go.mod", "module x.test\n\ngo 1.26\n\n"+tc.ignore+"\n")
		cmd := exec.Command("go", "list", "./...")
		cmd.Dir = filepath.Join(dir, tc.from)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(strings.Fields(string(out)), func(p string) bool { return p == "x.test/plain" })
		if d := cmp.Diff(want, paths(run(t, config(filepath.Join(dir, tc.from), "./...")))); d != "" {
			t.Errorf("%s, in %s: %s", tc.ignore, tc.from, d)
		}
	}
}
