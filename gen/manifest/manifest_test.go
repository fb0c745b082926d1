package manifest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
)

// later returns a time at which files written now are old enough.
func later() time.Time { return time.Now().Add(time.Hour) }

var put = testkit.Write

// tree creates a module and returns the inputs of a run.
func tree(t testing.TB) Inputs {
	t.Setenv("GOENV", "off")
	t.Setenv("GOWORK", "")
	dir := t.TempDir()
	put(t, filepath.Join(dir, "go.mod"), "module x.test\n\ngo 1.26\n\nreplace y.test => ./y\n")
	put(t, filepath.Join(dir, "a", "a.go"), "package a\n")
	put(t, filepath.Join(dir, "a", "af.contract.json"), "{}\n")
	put(t, filepath.Join(dir, "a", "notes.txt"), "notes\n")
	put(t, filepath.Join(dir, "y", "go.mod"), "module y.test\n")
	put(t, filepath.Join(dir, "goroot", "VERSION"), "go1.26\n")
	return Inputs{
		Dir: dir, Dirs: []string{dir, filepath.Join(dir, "a")}, Modules: []string{dir},
		Paths:  []string{filepath.Join(dir, "b")},
		GOROOT: filepath.Join(dir, "goroot"), Outputs: []string{"af.contract.json"},
	}
}

func take(t testing.TB, in Inputs) *Manifest {
	t.Helper()
	m, err := Take(later(), in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func unchanged(m *Manifest) bool {
	same, _ := m.Unchanged(later())
	return same
}

func TestUnchanged(t *testing.T) {
	for _, tc := range []struct {
		name    string
		matters bool
		edit    func(dir string) error
	}{
		{"nothing", false, func(string) error { return nil }},
		{"touched", false, func(dir string) error {
			return os.Chtimes(filepath.Join(dir, "a", "a.go"), time.Now(),
				time.Now())
		}},
		// Irrelevant files.
		{"file_without_rule", false,
			func(dir string) error { return os.WriteFile(filepath.Join(dir, "a", "notes.md"), nil, 0o644) }},
		{"edit_without_rule", false,
			func(dir string) error { return os.WriteFile(filepath.Join(dir, "a", "notes.txt"), nil, 0o644) }},
		// Lock files of editors.
		{"editor_lock", false, func(dir string) error { return os.Symlink("x@y.1", filepath.Join(dir, "a", ".#a.go")) }},
		{"hidden_directory", false, func(dir string) error { return os.Mkdir(filepath.Join(dir, ".git"), 0o755) }},
		{"same_content_rewritten", false, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "a", "a.go"), []byte("package a\n"), 0o644)
		}},
		{"edited", true, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "a", "a.go"), []byte("package ab\n"), 0o644)
		}},
		{"edit_keeps_size_and_time", true, func(dir string) error {
			path := filepath.Join(dir, "a", "a.go")
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte("package b\n"), 0o644); err != nil {
				return err
			}
			return os.Chtimes(path, info.ModTime(), info.ModTime())
		}},
		{"replaced_with_same_name_size_time", true, func(dir string) error {
			path := filepath.Join(dir, "a", "a.go")
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if err := os.WriteFile(path+".new", []byte("package b\n"), 0o644); err != nil {
				return err
			}
			if err := os.Chtimes(path+".new", info.ModTime(), info.ModTime()); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}},
		{"new_file", true, func(dir string) error { return os.WriteFile(filepath.Join(dir, "a", "b.go"), nil, 0o644) }},
		{"new_c_file", true, func(dir string) error { return os.WriteFile(filepath.Join(dir, "a", "b.c"), nil, 0o644) }},
		{"new_test", true, func(dir string) error { return os.WriteFile(filepath.Join(dir, "a", "a_test.go"), nil, 0o644) }},
		{"file_removed", true, func(dir string) error { return os.Remove(filepath.Join(dir, "a", "a.go")) }},
		{"file_renamed", true, func(dir string) error {
			return os.Rename(filepath.Join(dir, "a", "a.go"), filepath.Join(dir, "a", "b.go"))
		}},
		{"directory_removed", true, func(dir string) error { return os.RemoveAll(filepath.Join(dir, "a")) }},
		{"new_directory", true, func(dir string) error { return os.Mkdir(filepath.Join(dir, "c"), 0o755) }},
		{"directory_replaces_file", true, func(dir string) error {
			path := filepath.Join(dir, "a", "a.go")
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o755)
		}},
		{"output_edited", true, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "a", "af.contract.json"), []byte("[]\n"), 0o644)
		}},
		{"output_removed", true, func(dir string) error { return os.Remove(filepath.Join(dir, "a", "af.contract.json")) }},
		{"go_mod_edited", true, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module x.test\n\ngo 1.27\n"), 0o644)
		}},
		{"new_go_sum", true, func(dir string) error { return os.WriteFile(filepath.Join(dir, "go.sum"), nil, 0o644) }},
		{"new_go_work", true, func(dir string) error { return os.WriteFile(filepath.Join(dir, "go.work"), nil, 0o644) }},
		{"new_go_work_above", true,
			func(dir string) error { return os.WriteFile(filepath.Join(filepath.Dir(dir), "go.work"), nil, 0o644) }},
		{"directory_becomes_module", true,
			func(dir string) error { return os.WriteFile(filepath.Join(dir, "a", "go.mod"), nil, 0o644) }},
		{"vendoring", true, func(dir string) error { return os.Mkdir(filepath.Join(dir, "vendor"), 0o755) }},
		{"go_mod_of_replacement", true, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "y", "go.mod"), []byte("module y.test\n\ngo 1.26\n"), 0o644)
		}},
		{"path_that_was_missing", true, func(dir string) error { return os.Mkdir(filepath.Join(dir, "b"), 0o755) }},
		{"other_go_version", true,
			func(dir string) error { return os.WriteFile(filepath.Join(dir, "goroot", "VERSION"), nil, 0o644) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := tree(t)
			m := take(t, in)
			if err := tc.edit(in.Dir); err != nil {
				t.Fatal(err)
			}
			if unchanged(m) == tc.matters {
				t.Errorf("unchanged is %v", !tc.matters)
			}
		})
	}
}

func TestTakeAfterRecentChange(t *testing.T) {
	for name, start := range map[string]time.Time{"since the run began": time.Now().Add(-time.Minute),
		"just before": time.Now()} {
		in := tree(t)
		if _, err := Take(start, in, nil); err == nil || !strings.Contains(err.Error(), "just been changed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	in := tree(t)
	for time.Since(mtime(t, filepath.Join(in.Dir, "goroot",
		"VERSION"))) < 25*time.Millisecond { // the last file of the tree
	}
	start := time.Now()
	if err := os.Remove(filepath.Join(in.Dir, "a", "a.go")); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(start, in, nil); err == nil {
		t.Error("missing file: no error")
	}
}

func mtime(t *testing.T, path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

func TestWrote(t *testing.T) {
	in := tree(t)
	m := take(t, in)
	out, a := filepath.Join(in.Dir, "a", "af_gen.go"), filepath.Join(in.Dir, "a", "a.go")
	put(t, out, "package a // generated\n")
	if unchanged(m) {
		t.Error("a new file is not detected")
	}
	if err := os.Remove(a); err != nil {
		t.Fatal(err)
	}
	if !m.Wrote(out, []byte("package a // generated\n")) || !m.Wrote(a, nil) ||
		m.Wrote(filepath.Join(in.Dir, "b", "b.go"), nil) {
		t.Error("Wrote returned wrong values")
	}
	for i, want := range []bool{true, false} {
		same, learned := m.Unchanged(later())
		if !same || learned != want {
			t.Errorf("call %d: unchanged %v, learned %v", i, same, learned)
		}
	}
	put(t, out, "package a // edited\n")
	if unchanged(m) {
		t.Error("a change of a written file is not detected")
	}
	// A stamp must be older than the call.
	put(t, out, "package a // generated\n")
	if same, learned := m.Unchanged(time.Now()); !same || learned {
		t.Errorf("just written: unchanged %v, learned %v", same, learned)
	}
}

func TestTakeWithOldManifest(t *testing.T) {
	in := tree(t)
	old := take(t, in)
	put(t, filepath.Join(in.Dir, "a", "a.go"), "package b\n")
	m, err := Take(later(), in, old)
	if err != nil {
		t.Fatal(err)
	}
	if !unchanged(m) {
		t.Error("the new manifest has an old hash")
	}
	if !bytes.Equal(m.encode("k"), take(t, in).encode("k")) {
		t.Error("the result depends on the old manifest")
	}
}

func TestEncodeAndDecode(t *testing.T) {
	m := take(t, tree(t))
	m.Annotated = true
	m.Emitted[SumOf([]byte("ir"))] = map[string]Sum{"af_gen.go": SumOf([]byte("go")), "af.contract.json": {}}
	data := m.encode("key")
	back, err := decode("key", data)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.encode("key"), data) || !unchanged(back) || !back.Annotated {
		t.Error("the decoded manifest differs")
	}
	if _, err := decode("yek", data); err == nil {
		t.Error("decoded with another key: no error")
	}
	for i := range data {
		if _, err := decode("key", data[:i]); err == nil {
			t.Fatalf("truncated at %d: no error", i)
		}
		bad := slices.Clone(data)
		bad[i] ^= 1
		if _, err := decode("key", bad); err == nil {
			t.Fatalf("byte %d changed: no error", i)
		}
		// A malformed manifest with a valid hash must not panic.
		sum := SumOf(bad[:len(bad)-len(Sum{})])
		decode("key", append(bad[:len(bad)-len(Sum{})], sum[:]...))
	}
}

func TestStoreLimits(t *testing.T) {
	m := take(t, tree(t))
	dir := t.TempDir()
	s := Store(filepath.Join(dir, "store"))
	if s.Load("none") != nil || Store("").Load("none") != nil || Store("").Save("none", m) != nil {
		t.Error("a missing manifest or the empty store")
	}
	if err := s.Save("key", m); err != nil {
		t.Fatal(err)
	}
	if s.Load("key") == nil || s.Load("yek") != nil {
		t.Error("Load returned the wrong manifest")
	}
	put(t, s.path("key"), "damaged")
	put(t, s.path("directory")+"/file", "")
	if s.Load("key") != nil || s.Load("directory") != nil {
		t.Error("loaded an invalid manifest")
	}
	if err := s.Save("directory", m); err == nil {
		t.Error("a directory was replaced")
	}
	put(t, filepath.Join(dir, "in the way"), "")
	if err := Store(filepath.Join(dir, "in the way")).Save("key", m); err == nil {
		t.Error("saved into a file")
	}

	put(t, filepath.Join(string(s), "mine.txt"), "")
	old := time.Now().Add(-2 * maxAge)
	for path, at := range map[string]time.Time{s.path("old"): old,
		filepath.Join(string(s), "1.tmp"): time.Now().Add(-2 * time.Hour), filepath.Join(string(s), "mine.txt"): old} {
		put(t, path, "")
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // each manifest is kept for a while
		for i := range maxCount {
			put(t, s.path(Key(strings.Repeat("k", 1+i%100)+string(rune('a'+i/100)))), "")
		}
		if err := s.Save("key", m); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	entries, err := os.ReadDir(string(s))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if n := len(names); n > maxCount+2 || !slices.Contains(names, "mine.txt") || slices.Contains(names, "1.tmp") ||
		slices.Contains(names, "old"+suffix) {
		t.Errorf("%d left: %q", n, names)
	}
	if s.Load("key") == nil {
		t.Error("the newest was evicted")
	}
}

func TestConcurrentStore(t *testing.T) {
	m := take(t, tree(t))
	s := Store(t.TempDir())
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 50 {
				if err := s.Save("key", &Manifest{directories: m.directories, paths: m.paths, rules: m.rules}); err != nil {
					t.Error(err)
					return
				}
				if s.Load("key") == nil {
					t.Error("loaded an incomplete manifest")
					return
				}
			}
		})
	}
	workers.Wait()
}

func TestKeyDependsOnEnvironment(t *testing.T) {
	t.Setenv("GOENV", filepath.Join(t.TempDir(), "env"))
	t.Setenv("GOFLAGS", "")
	key := func(dir, tags string, patterns ...string) Key {
		t.Helper()
		k, err := KeyOf(Question{Dir: dir, Tags: tags, Patterns: patterns})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	seen := map[Key]string{}
	unique := func(what string, k Key) {
		t.Helper()
		if other, ok := seen[k]; ok {
			t.Errorf("%s has the same key as %s", what, other)
		}
		seen[k] = what
	}
	unique("default", key("/d", ""))
	unique("a directory", key("/e", ""))
	unique("tags", key("/d", "a"))
	unique("a pattern", key("/d", "", "a"))
	unique("patterns", key("/d", "", "a", "b"))
	unique("pattern with space", key("/d", "", "a b"))
	for _, name := range []string{"GOOS", "GOARCH", "CGO_ENABLED", "GOEXPERIMENT", "GOWORK", "GOTOOLCHAIN", "GOPATH",
		"GOMODCACHE", "GOROOT", "CC", "HOME", "GOAMD64"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "other")
			unique(name, key("/d", ""))
		})
	}
	for _, flags := range []string{"-mod=mod", "-tags=a"} {
		t.Setenv("GOFLAGS", flags)
		unique(flags, key("/d", ""))
	}
	t.Setenv("GOFLAGS", "")
	put(t, os.Getenv("GOENV"), "GOFLAGS=-tags=a\n")
	unique("go env -w", key("/d", ""))
	if err := os.Remove(os.Getenv("GOENV")); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	put(t, filepath.Join(bin, "go"), "")
	if err := os.Chmod(filepath.Join(bin, "go"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Run("PATH", func(t *testing.T) {
		t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		if filepath.Separator == '/' {
			unique("another go", key("/d", ""))
		}
	})
	t.Setenv("GOFILE", "a.go")
	if _, ok := seen[key("/d", "")]; !ok {
		t.Error("the key depends on GOFILE")
	}
}

func TestKeyErrors(t *testing.T) {
	env := filepath.Join(t.TempDir(), "env")
	for _, kv := range []string{
		"GOFLAGS=-overlay=x.json", "GOFLAGS=-mod=mod -modfile=x.mod", "GOFLAGS=--toolexec=x", "GO111MODULE=off",
		"GOPACKAGESDRIVER=/x",
	} {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv("GOENV", "off")
		t.Setenv(name, value)
		if _, err := KeyOf(Question{Dir: "/d"}); err == nil {
			t.Errorf("%s in the environment: no error", kv)
		}
		t.Setenv(name, "")
		t.Setenv("GOENV", env)
		put(t, env, kv+"\n")
		if _, err := KeyOf(Question{Dir: "/d"}); err == nil {
			t.Errorf("%s in the file of go env -w: no error", kv)
		}
	}
}

func TestBuildID(t *testing.T) {
	id, err := buildID()
	if err != nil || strings.Count(id, "/") < 3 || strings.HasPrefix(id, "/") {
		t.Errorf("%q, %v", id, err) // not the fallback, since the Go linker writes an ID
	}
}

func BenchmarkUnchanged(b *testing.B) {
	in := tree(b)
	for i := range 1000 {
		dir := filepath.Join(in.Dir, "p"+string(rune('a'+i/10%26))+string(rune('a'+i/260)))
		put(b, filepath.Join(dir, "f"+string(rune('a'+i%10))+".go"), "package p\n")
		in.Dirs = append(in.Dirs, dir)
	}
	slices.Sort(in.Dirs)
	in.Dirs = slices.Compact(in.Dirs)
	m := take(b, in)
	now := later()
	data := m.encode("key")
	for b.Loop() {
		m, err := decode("key", data)
		if err != nil {
			b.Fatal(err)
		}
		if same, _ := m.Unchanged(now); !same {
			b.Fatal("changed")
		}
	}
}
