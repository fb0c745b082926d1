package pattern_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/gen/scan/internal/pattern"
)

func TestMatches(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for path, content := range map[string]string{
		"go.mod":              "module test\n\ngo 1.26\n\nignore (\n\t./web\n\tnode_modules\n)\n",
		"nested/mod/go.mod":   "module nested\n",
		"web/shop/.keep":      "",
		"shop/node_modules/a": "",
	} {
		path = filepath.Join(root, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		pattern, dir, importPath string
		want                     bool
	}{
		{".", ".", "test", true},
		{".", "shop", "test/shop", false},
		{"./shop", "shop", "test/shop", true},
		{"./...", "shop/deep", "test/shop/deep", true},
		{"...", "shop", "test/shop", true},
		{"./shop/...", "shopping", "test/shopping", false},
		{"./...", "shop/testdata", "test/shop/testdata", false},
		{"./...", "shop/_old", "test/shop/_old", false},
		{"./...", "nested/mod/a", "nested/a", false},
		{"./...", "web/shop", "test/web/shop", false},
		{"./web/shop", "web/shop", "test/web/shop", true},
		{"./...", "shop/web", "test/shop/web", true},
		{"./...", "shop/node_modules", "test/shop/node_modules", false},
		{"./...", "new", "test/new", true}, // a directory need not exist
		{"test/shop", "shop", "test/shop", true},
		{"test/...", "shop", "test/shop", true},
		{"test/...", "test", "test", true},
		{"testing/...", "shop", "test/shop", false},
		{"all", "shop", "test/shop", true},
	} {
		dir := filepath.Join(root, filepath.FromSlash(test.dir))
		if got := pattern.Matches(root, test.pattern, dir, test.importPath); got != test.want {
			t.Errorf("%s matches %s (%s): %v", test.pattern, test.dir, test.importPath, got)
		}
	}
}
