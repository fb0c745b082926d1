package gen_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/manifest"
	"github.com/afgen/afgen/internal/testkit"
)

// aService returns a file with a service of one method, with a build constraint.
func aService(constraint, pkg, name, doc string) string {
	if constraint != "" {
		constraint = "//go:build " + constraint + "\n\n"
	}
	return constraint + "package " + pkg + "\n\nimport \"context\"\n\n// " + doc + "\n//\n//af:rpc\ntype " + name +
		" struct{}\n\n// Do is " + doc + "\nfunc (" +
		name + ") Do(ctx context.Context, x int) error { return nil }\n"
}

// constrained returns a module with all kinds of build constraints.
func constrained(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range map[string]string{
		"go.mod":            "module x.test\n\ngo 1.26\n",
		"lin/only_linux.go": aService("", "lin", "Linux", "Text."),
		"win/w_windows.go": aService("", "win", "Windows", "Text.") +
			"\ntype K int\n\nfunc (Windows) Key(ctx context.Context, k K) error { return nil }\n",
		"win/doc.go":       "package win\n",
		"cgo/c.go":         "package c\n\nimport \"C\"\n" + aService("", "c", "WithC", "Text.")[len("package c\n"):],
		"tag/tag.go":       aService("special && !linux", "tag", "Tagged", "Text."),
		"tag/old_arm.go":   aService("go1.18", "tag", "Old", "Text."),
		"alike/a_linux.go": aService("", "alike", "Alike", "of linux."),
		"alike/a_other.go": aService("!linux", "alike", "Alike", "of others."),
		"alike/b.go":       aService("", "alike", "Both", "of all."),
		"alike/b_windows.go": "package alike\n\nimport \"context\"\n\n// More of windows.\n" +
			"func (Both) More(c context.Context) error { return nil }\n",
		"alike/b_unix.go": "//go:build !windows\n\npackage alike\n\nimport \"context\"\n\n// More of others.\n" +
			"func (Both) More(ctx context.Context) (err error) { return nil }\n",
	} {
		put(t, dir, name, content)
	}
	return dir
}

// environments are systems that compile different files.
var environments = [][]string{
	{"GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=1"},
	{"GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=-tags=special"},
	{"GOOS=darwin", "GOARCH=arm64", "CGO_ENABLED=0"},
	{"GOOS=linux", "GOARCH=arm", "CGO_ENABLED=0"},
	{"GOOS=windows", "GOARCH=arm64", "CGO_ENABLED=0", "GOFLAGS=-tags=other"},
}

// planOn generates for another system.
func planOn(t *testing.T, dir string, env []string) *gen.Plan {
	t.Helper()
	plan, err := gen.Generate(t.Context(), dir, []string{"./..."}, gen.Options{Env: append(os.Environ(), env...)})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Diagnostics) > 0 {
		t.Fatal(plan.Diagnostics)
	}
	return plan
}

// The output, and the results of check and breaking, don't depend on the system that afgen runs on.
func TestSameResultOnAllSystems(t *testing.T) {
	t.Parallel()
	environments := environments[:testkit.Fewer(len(environments), 2)]
	dir := constrained(t)
	first := planOn(t, dir, environments[0])
	// win has no client without a constraint, tag has two constraints, alike none
	if n := len(first.Changes); n != 3+2+3+4+2 {
		t.Errorf("%d files", n)
	}
	for _, name := range environments[1:] {
		if d := cmp.Diff(first.Changes, planOn(t, dir, name).Changes); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if err := first.Apply(); err != nil {
		t.Fatal(err)
	}
	for _, name := range environments {
		plan := planOn(t, dir, name)
		for _, c := range plan.Changes {
			t.Errorf("%s: %s is %s", name, c.Path, c.Kind)
		}
		report, err := plan.Breaking(t.Context(), dir, ".")
		if err != nil || len(report.Report.Findings) > 0 || report.Contracts != 5 {
			t.Errorf("%s: %v, %v, %d contracts", name, report, err, report.Contracts)
		}
	}
	// Files become orphans regardless of their constraint.
	if err := os.Remove(filepath.Join(dir, "lin/only_linux.go")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "tag/tag.go", aService("bespoke", "tag", "Tagged", "Text."))
	for _, name := range environments {
		kinds := map[gen.Kind]int{}
		for _, c := range planOn(t, dir, name).Changes {
			kinds[c.Kind]++
		}
		if !maps.Equal(kinds, map[gen.Kind]int{gen.Orphaned: 3 + 1, gen.Missing: 1, gen.Stale: 1}) {
			t.Errorf("%s: %v", name, kinds)
		}
	}
}

// Output for a file that can't be analyzed is kept, including its contract.
func TestKeepsOutputOfUnknownSystems(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, "go.mod", "module x.test\n\ngo 1.26\n")
	put(t, dir, "a/a.go", aService("", "a", "A", "Text."))
	put(t, dir, "a/next.go", aService("next", "a", "Next", "Text."))
	put(t, dir, "only/next.go", aService("next", "only", "Only", "Text."))
	if err := planOn(t, dir, nil).Apply(); err != nil {
		t.Fatal(err)
	}
	// Simulate output of a newer Go version.
	put(t, dir, "a/next.go", aService("next && go1.999", "a", "Next", "Text."))
	put(t, dir, "only/next.go", aService("next && go1.999", "only", "Only", "Text."))
	put(t, dir, "a/ignored.go", aService("ignore", "a", "Ignored", "Text."))
	put(t, dir, "new/next.go", aService("go1.999", "fresh", "New", "Text."))
	put(t, dir, "new/new.go", aService("", "fresh", "Fresh", "Text."))
	store := gen.Options{Manifests: manifest.Store(t.TempDir())}
	for range 2 {
		settle()
		plan, err := gen.Generate(t.Context(), dir, []string{"./..."}, store)
		if err != nil || len(plan.Diagnostics) > 0 || plan.Unchanged || len(plan.Kept) != 3 {
			t.Fatalf("%v, %v, unchanged %v, kept %v", err, plan.Diagnostics, plan.Unchanged, plan.Kept)
		}
		for _, c := range plan.Changes {
			if filepath.Base(filepath.Dir(c.Path)) != "new" || c.Kind != gen.Missing {
				t.Errorf("%s is %s", c.Path, c.Kind)
			}
		}
		report, err := plan.Breaking(t.Context(), dir, ".")
		if err != nil || len(report.Report.Findings) > 0 {
			t.Errorf("%v, %v", report, err)
		}
		if err := plan.Apply(); err != nil {
			t.Fatal(err)
		}
	}
	// The rest of its package can't change.
	put(t, dir, "a/more.go", aService("", "a", "More", "Text."))
	plan, err := gen.Generate(t.Context(), dir, []string{"./..."}, store)
	if err != nil || len(plan.Changes) > 0 || len(plan.Diagnostics) != 1 || plan.Diagnostics[0].Code != "AF0508" ||
		plan.Diagnostics[0].Pos.File != filepath.Join(dir, "a/next.go") {
		t.Errorf("%v, %v, %v", err, plan.Changes, plan.Diagnostics)
	}
	// Without the files, the output is removed.
	for _, name := range []string{"a/next.go", "only/next.go"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var orphans []string
	for _, c := range planOn(t, dir, nil).Changes {
		if c.Kind == gen.Orphaned {
			orphans = append(orphans, filepath.Base(filepath.Dir(c.Path))+"/"+filepath.Base(c.Path))
		}
	}
	next := emit.ConstrainedFile("next")
	if d := cmp.Diff([]string{"a/" + next, "only/af.contract.json", "only/af_gen.go", "only/" + next}, orphans); d != "" {
		t.Error(d)
	}
}
