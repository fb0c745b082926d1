package load_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/scan/internal/load"
)

// The loader parses, checks and reports only needed declarations.
func TestLoadsOnlyNeeded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod": "module test\n\ngo 1.26\n",
		"shop.go": "package shop\n\nimport (\n\t\"test/item\"\n\t\"test/other\"\n)\n\ntype Shop struct{ O other.Other }\n\n" +
			"func (s *Shop) Find(i item.Item) {}\n\nfunc (s *Shop) Broken(n None) {}\n",
		"gen.go":         "package shop\n\nsyntax error\n",
		"ios.go":         "//go:build ios\n\npackage shop\n",
		"item/item.go":   "package item\n\ntype Item struct{ Name Missing }\n\ntype Unused struct{ Name Missing }\n",
		"other/other.go": "package other\n\ntype Other struct{ Name Missing }\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var reported []string
	l := load.New(load.Config{
		Dir:       dir,
		Generated: func(name string, _ []byte) bool { return name == "gen.go" },
		Report: func(d diag.Diagnostic) {
			reported = append(reported, filepath.Base(d.Pos.File)+": "+d.Message)
		},
	})
	roots, err := l.Load(t.Context(), []string{dir}, nil)
	if err != nil || len(roots) != 1 {
		t.Fatal(roots, err)
	}
	u := roots[0]
	if len(u.Excluded) != 1 || filepath.Base(u.Excluded[0].Name) != "ios.go" {
		t.Errorf("excluded: %v", u.Excluded)
	}
	l.NeedName(u, "Shop")
	for _, m := range u.Methods["Shop"] {
		if m.Name.Name == "Find" {
			l.NeedMethod(u, m)
		}
	}
	if item, other := l.Unit("test/item"), l.Unit("test/other"); item.Names == nil || other.Names != nil {
		t.Errorf("item was parsed: %v, and other: %v", item.Names != nil, other.Names != nil)
	}
	if p := l.Check(u); p == nil || p.Scope().Lookup("Shop") == nil {
		t.Errorf("checked: %v", p)
	}
	if want := []string{"item.go: undefined: Missing"}; !slices.Equal(reported, want) {
		t.Errorf("reported:\n%s", strings.Join(reported, "\n"))
	}
	if where, why := l.DirOfPackage("test/new/client"); where != filepath.Join(dir, "new", "client") || why != "" {
		t.Errorf("new package: directory %s, reason %s", where, why)
	}
	if where, why := l.DirOfPackage("elsewhere/client"); where != "" || why == "" {
		t.Errorf("package outside modules: directory %s", where)
	}
}
