//go:build long

package main

import (
	"maps"
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

	lines := strings.Split(strings.TrimSpace(sums[0]), "\n")
	if len(lines) != 2 {
		t.Fatalf("sums %q, want those of af and afgen", lines)
	}
	for i, command := range []string{"afgen", "af"} {
		_, name, _ := strings.Cut(lines[1-i], "  ")
		t.Run(command, func(t *testing.T) { checkArchive(t, command, filepath.Join(out, name)) })
	}
}

// checkArchive checks the files in a command's archive, and the version that its program prints.
func checkArchive(t *testing.T, command, archive string) {
	if !strings.HasPrefix(filepath.Base(archive), command+"_v0.98.7_"+runtime.GOOS+"_"+runtime.GOARCH) {
		t.Fatal(archive)
	}
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	read, program := readTar, command
	if runtime.GOOS == "windows" {
		read, program = readZip, command+".exe"
	}
	found := map[string]string{}
	for _, e := range read(t, data) {
		found[filepath.Base(e.name)] = e.data
	}
	want := map[string]string{"THIRD_PARTY_LICENSES": "github.com/spf13/cobra", "LICENSE": "Apache License"}
	if command == "af" {
		maps.Copy(want, map[string]string{"af.1": ".SH ENVIRONMENT", "af-queues.1": "af queues", "af.bash": "complete -o",
			"_af": "#compdef af", "af.fish": "complete -c af"})
	}
	for name, text := range want {
		if !strings.Contains(found[name], text) {
			t.Errorf("%s does not contain %q", name, text)
		}
	}
	file := filepath.Join(t.TempDir(), program)
	if err := os.WriteFile(file, []byte(found[program]), 0o755); err != nil {
		t.Fatal(err)
	}
	line, err := exec.Command(file, "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(line), command+" v0.98.7 (") {
		t.Errorf("version: %s, %v", line, err)
	}
}
