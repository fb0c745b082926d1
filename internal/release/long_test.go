//go:build long

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Two builds from different directories, one of them with uncommitted changes, are equal. The command knows its version.
func TestLongReleaseIsReproducible(t *testing.T) {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	var sums []string
	var out string
	for _, changed := range []bool{false, true} {
		root := clone(t, "v0.98.7")
		if changed {
			if err := os.WriteFile(filepath.Join(root, "cmd", "afgen", "main.go"), []byte("not Go"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		out = t.TempDir()
		got, err := release{root: root, out: out, version: "v0.98.7", platforms: []string{platform}}.build(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, got)
	}
	if sums[0] != sums[1] {
		t.Errorf("the builds differ: %q", sums)
	}
	other := release{root: clone(t, "v0.98.7"), out: t.TempDir(), version: "v0.98.6", platforms: []string{platform}}
	_, err := other.build(t.Context())
	if err == nil || !strings.Contains(err.Error(), "is v0.98.7, not v0.98.6; tag it first") {
		t.Errorf("wrong version: %v", err)
	}

	_, name, _ := strings.Cut(strings.TrimSpace(sums[0]), "  ")
	data, err := os.ReadFile(filepath.Join(out, name))
	if err != nil {
		t.Fatal(err)
	}
	read, command := readTar, "afgen"
	if runtime.GOOS == "windows" {
		read, command = readZip, "afgen.exe"
	}
	found := map[string]string{}
	for _, e := range read(t, data) {
		found[filepath.Base(e.name)] = e.data
	}
	licenses := map[string]string{"THIRD_PARTY_LICENSES": "github.com/spf13/cobra", "LICENSE": "Apache License"}
	for name, want := range licenses {
		if !strings.Contains(found[name], want) {
			t.Errorf("%s does not contain %q", name, want)
		}
	}
	program := filepath.Join(t.TempDir(), command)
	if err := os.WriteFile(program, []byte(found[command]), 0o755); err != nil {
		t.Fatal(err)
	}
	line, err := exec.Command(program, "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(line), "afgen v0.98.7 (") {
		t.Errorf("version: %s, %v", line, err)
	}
}

// clone returns a clone of this repository whose HEAD has a tag.
func clone(t *testing.T, tag string) string {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{{"clone", "-q", "../..", dir}, {"-C", dir, "tag", tag}} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	return dir
}
