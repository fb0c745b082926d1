//go:build unix

package safepath_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/afgen/afgen/runtime/internal/safepath"
)

func TestWalkFollowsLinksLikeTheSystem(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"a/b/c", "d"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"up": "a/b/..", "abs": filepath.Join(dir, "d"), "a/b/out": "../../abs/", "loop": "loop", "a/hop": "../up/b",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"a/b": "a/b", "up": "a", "up/b/c": "a/b/c", "a/b/out/new/file": "d/new/file", "a/hop/c": "a/b/c", "abs/../d": "d",
		"none/x": "none/x",
	} {
		got, found, err := safepath.Walk(dir+"/"+path, os.Geteuid())
		if err != nil || got != filepath.Join(dir, want) {
			t.Errorf("%s leads to %s, %v; want %s", path, got, err, want)
		}
		if real, err := filepath.EvalSymlinks(dir + "/" + path); err == nil && real != got {
			t.Errorf("%s leads to %s, and to %s by filepath", path, got, real)
		}
		for _, f := range found {
			if strings.HasPrefix(f.Path, dir) {
				t.Errorf("%s: %+v", path, f)
			}
		}
	}
	if _, _, err := safepath.Walk(dir+"/loop/x", os.Geteuid()); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
}
