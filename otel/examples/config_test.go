package main_test

import (
	"os"
	"path/filepath"
	"testing"
)

// With -config a config.yaml selects the backend.
func TestConfigSelectsBackend(t *testing.T) {
	dir := t.TempDir()
	text := "embedded: {path: gallery.db}\nlogger: {path: \"\"}\n"
	if err := os.WriteFile(filepath.Join(dir, "gallery.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, dir, nil, "-config", "gallery.yaml", "-listen", "127.0.0.1:0")
	publish(t, p, "spring", "")
	p.Stop()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "gallery.db" {
			return
		}
	}
	t.Errorf("the file of the configuration was not used: %v", entries)
}
