package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"slices"
	"testing"
	"time"
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
