package golden

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/internal/testkit"
)

// Each case in breaking/ has the code before and after a change in directories with these names, and the findings of
// afgen breaking in want:findings. Both directories are the module golden.test/<case>.
func TestBreaking(t *testing.T) {
	files, err := filepath.Glob("breaking/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	before, after := module(t), module(t)
	said := make([]string, len(files))
	t.Run("case", func(t *testing.T) {
		for i, file := range files {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
				t.Parallel()
				said[i] = breakingCase(t, file, before, after)
			})
		}
	})
	for _, r := range contract.Rules() {
		if !strings.Contains(strings.Join(said, ""), ": "+r.ID+": ") {
			t.Errorf("no case for %s", r.ID)
		}
	}
}

func breakingCase(t *testing.T, file, before, after string) string {
	t.Helper()
	a := parse(t, file)
	name := strings.TrimSuffix(filepath.Base(file), ".txtar")
	want := ""
	for _, f := range a.Files {
		tree, path, _ := strings.Cut(f.Name, "/")
		root := map[string]string{"before": before, "after": after}[tree]
		if root == "" {
			want = string(f.Data)
			continue
		}
		testkit.Write(t, filepath.Join(root, name, filepath.FromSlash(path)), string(f.Data))
	}
	old := generate(t, filepath.Join(before, name))
	if err := old.Apply(); err != nil {
		t.Fatal(err)
	}
	now := generate(t, filepath.Join(after, name))
	compared, err := now.Breaking(t.Context(), filepath.Join(after, name), filepath.Join(before, name))
	if err != nil {
		t.Fatal(err)
	}
	got := findings(t, compared, filepath.Join(after, name))
	switch d := cmp.Diff(want, got); {
	case *update:
		a.Files = append(a.Files[:len(a.Files)-1:len(a.Files)-1], txtar.File{Name: "want:findings", Data: []byte(got)})
		if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	case d != "":
		t.Errorf("%s (-want +got); go test ./golden -update rewrites it:\n%s", file, d)
	}
	return got
}

// findings formats a report with one line per finding.
func findings(t *testing.T, c *gen.Comparison, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, f := range c.Report.Findings {
		place := "gone from " + f.Package
		if at := c.Place(f.Package, f.Symbol); at.File != "" {
			rel, err := filepath.Rel(dir, at.File)
			if err != nil {
				t.Fatal(err)
			}
			place = fmt.Sprintf("%s:%d:%d", filepath.ToSlash(rel), at.Line, at.Column)
		}
		fmt.Fprintf(&b, "%s: %s: %s", place, f.Rule, f.Message)
		if f.Warning {
			b.WriteString(" (warning)")
		}
		if f.Allowed != "" {
			b.WriteString(" (allowed: " + f.Allowed + ")")
		}
		b.WriteByte('\n')
	}
	for _, n := range c.Report.UnusedAllows {
		fmt.Fprintf(&b, "needless: %s at %s.%s\n", n.Rule, n.Package, n.Symbol)
	}
	return b.String()
}

func generate(t *testing.T, dir string) *gen.Plan {
	t.Helper()
	plan, err := gen.Generate(context.Background(), dir, []string{"./..."}, gen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Diagnostics) > 0 {
		t.Fatalf("%s: %v", dir, plan.Diagnostics)
	}
	return plan
}
