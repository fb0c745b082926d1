package main

import (
	"bytes"
	"context"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/browser/chrome"
	"github.com/afgen/afgen/internal/browser/shop"
)

const docs = "../../../docs"

// The documents show the pictures that the command takes, each light and dark, and no others exist.
func TestDocumentsShowEveryPicture(t *testing.T) {
	want := map[string]bool{}
	for _, p := range pictures {
		for _, file := range p.files() {
			want[file] = true
		}
	}
	shown := map[string]bool{}
	for _, page := range []string{docs + "/dashboard.md", "../../../README.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`screenshots/([\w.-]+\.png)`).FindAllSubmatch(text, -1) {
			shown[string(m[1])] = true
		}
	}
	kept := map[string]bool{}
	entries, err := os.ReadDir(docs + "/screenshots")
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, e := range entries {
		kept[e.Name()] = true
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 150_000 {
			t.Errorf("%s has %d bytes, more than 150,000", e.Name(), info.Size())
		}
		total += info.Size()
	}
	if total > 1_200_000 {
		t.Errorf("the pictures have %d bytes, more than 1,200,000", total)
	}
	for name, got := range map[string]map[string]bool{"the documents show": shown, "docs/screenshots has": kept} {
		if !maps.Equal(got, want) {
			t.Errorf("%s %q\nwant %q", name, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
}

// Every page of the shop is complete: the clock and the data are all that it depends on.
func TestPagesAreAlwaysTheSame(t *testing.T) {
	for _, p := range pictures {
		var before string
		for range 2 {
			w := httptest.NewRecorder()
			handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", p.path, nil))
			if w.Code != 200 || before != "" && w.Body.String() != before {
				t.Fatalf("%s: %d, or another page than before", p.path, w.Code)
			}
			before = w.Body.String()
		}
	}
}

// A picture that is taken twice has the same bytes.
func TestPicturesAreAlwaysTheSame(t *testing.T) {
	if _, err := chrome.Find(); err != nil {
		if os.Getenv("AF_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	all := pictures
	t.Cleanup(func() { pictures = all })
	at := slices.IndexFunc(all, func(p picture) bool { return p.path == "/tasks/"+shop.Import })
	pictures = all[at : at+1] // it has most that moves: a log, a running task, progress
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var before [2][]byte
	for run := range 2 {
		dir := t.TempDir()
		if err := take(ctx, dir); err != nil {
			t.Fatal(err)
		}
		for i, file := range pictures[0].files() {
			body, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if run > 0 && !bytes.Equal(body, before[i]) {
				t.Errorf("%s differs", file)
			}
			before[i] = body
		}
	}
}
