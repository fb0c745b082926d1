package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Tests run at full length if they do less with -short or with the race detector, through helpers and methods, too.
func TestFullLength(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a_test.go": `package p
func TestLong(t *testing.T)   { testkit.Long(t, "waits") }
func TestShort(t *testing.T)  { helper2(t); x.Fewer(); tick := 1; _ = tick }
func TestFewer(t *testing.T)  { helper(t) }
func TestMethod(t *testing.T) { new(world).play(t) }
func TestSeeds(t *testing.T)  { t.Log(*seeds) }
func TestMain(m *testing.M)   { testing.Short() }
func TestCommands(t *testing.T) { testscript.Run(t, testscript.Params{}) }
var _ int; func FuzzLess(f *testing.F) { helper(f) }
func BenchmarkLess(b *testing.B) { helper(b) }
func helper(t testing.TB)     { for range testkit.Fewer(3, 1) { helper2(t) } }
func helper2(t testing.TB)    {}
func (w *world) play(t testing.TB) { if testing.Short() { return } }
var seeds = flag.Int("seeds", defaultSeeds, "")
`,
		"norace_test.go": `//go:build linux && !race

package p
const defaultSeeds = 3
func TestUnraced(t *testing.T) {}
`,
		"race_test.go": `//go:build race

package p
const defaultSeeds = 1
func TestRaced(t *testing.T) {}
`,
		"testdata/script/less.txt": "[short] skip\n",
		"testdata/script/same.txt": "exec true\n",
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := fullLength(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := "^TestLong$|^TestFewer$|^TestMethod$|^TestSeeds$|^FuzzLess$|^TestUnraced$|^TestCommands$/^less$"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "b_test.go"), []byte("package"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fullLength(dir); err == nil || !strings.Contains(err.Error(), "b_test.go") {
		t.Errorf("a file that is no Go: %v", err)
	}
}
