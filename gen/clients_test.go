package gen_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/gen"
)

// An unreadable directory is not considered missing.
func TestUnreadableDirectories(t *testing.T) {
	generate := func(dir, pattern string) (*gen.Plan, error) {
		return gen.Generate(context.Background(), dir, []string{pattern}, gen.Options{})
	}
	made := func(t *testing.T) string {
		dir := tree(t, map[string]string{"calc/calc.go": strings.Replace(calc, "//af:rpc",
			"//af:rpc client=example.com/m/clients", 1)})
		p, err := generate(dir, "./...")
		if err != nil || p.Apply() != nil || len(p.Changes) != 3 {
			t.Fatal(err, p)
		}
		return dir
	}
	unreadable := func(t *testing.T, path string) { // a link to itself, which even root can't read
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, path); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("client_package", func(t *testing.T) {
		dir := made(t)
		put(t, dir, "calc/calc.go", calc)
		unreadable(t, filepath.Join(dir, "clients"))
		if p, err := generate(dir, "./calc"); err == nil ||
			!strings.Contains(err.Error(), "client halves of example.com/m/calc") {
			t.Errorf("%v, %+v", err, p)
		}
	})
	t.Run("service_package", func(t *testing.T) {
		dir := made(t)
		unreadable(t, filepath.Join(dir, "calc"))
		p, err := generate(dir, "./clients")
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(p.Changes, func(c gen.Change) bool { return c.Kind == gen.Orphaned }) {
			t.Errorf("%+v", p.Changes)
		}
	})
}
