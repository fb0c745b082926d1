package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
)

// An entry is what a reader of an archive sees of a file.
type entry struct {
	name, data string
	mode       fs.FileMode
	when       time.Time
}

func TestArchivesAreReproducible(t *testing.T) {
	when := time.Date(2026, 11, 24, 10, 30, 2, 0, time.UTC)
	files := []file{{"afgen", []byte("program"), true}, {"LICENSE", []byte("text"), false}}
	want := []entry{{"afgen_v1/LICENSE", "text", 0o644, when}, {"afgen_v1/afgen", "program", 0o755, when}}
	for _, tt := range []struct {
		extension string
		pack      func(string, []file, time.Time) ([]byte, string, error)
		read      func(*testing.T, []byte) []entry
	}{{".tar.gz", tarGz, readTar}, {".zip", zipped, readZip}} {
		t.Run(tt.extension, func(t *testing.T) {
			first, extension, err := tt.pack("afgen_v1", files, when)
			if err != nil || extension != tt.extension {
				t.Fatal(extension, err)
			}
			reversed := slices.Clone(files)
			slices.Reverse(reversed)
			second, _, err := tt.pack("afgen_v1", reversed, when)
			if err != nil || !bytes.Equal(first, second) {
				t.Fatalf("the archives differ, %v", err)
			}
			if got := tt.read(t, first); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// Two builds from different directories, one of them with uncommitted changes, are equal. The command knows its version.
func TestReleaseIsReproducible(t *testing.T) {
	testkit.Long(t, "builds the commands twice")
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

func readTar(t *testing.T, data []byte) (entries []entry) {
	t.Helper()
	decompressed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(decompressed); ; {
		h, err := r.Next()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry{h.Name, string(text), h.FileInfo().Mode(), h.ModTime.UTC()})
	}
}

func readZip(t *testing.T, data []byte) (entries []entry) {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.File {
		body, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry{f.Name, string(text), f.Mode(), f.Modified.UTC()})
	}
	return entries
}
