package gen_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/internal/testkit"
)

// A directory may become a link after Generate. Apply checks it again.
func TestApplyStaysInTheModule(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	testkit.Write(t, filepath.Join(dir, "go.mod"), "module example.com/m\n\ngo 1.26\n")
	testkit.Write(t, filepath.Join(dir, "calc", "calc.go"), `package calc

import "context"

//af:rpc
type Calc struct{}

func (c *Calc) Add(ctx context.Context, x int) (int, error) { return x, nil }
`)
	plan, err := gen.Generate(t.Context(), dir, []string{"./..."}, gen.Options{})
	if err != nil || len(plan.Changes) == 0 {
		t.Fatal(plan, err)
	}
	if err := os.Rename(filepath.Join(dir, "calc"), filepath.Join(dir, "before")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(out, filepath.Join(dir, "calc")); err != nil {
		return // symbolic links are not supported
	}
	if err := plan.Apply(); err == nil {
		t.Error("Apply follows a link out of the module")
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) > 0 {
		t.Errorf("wrote %v, %v", entries, err)
	}
}
