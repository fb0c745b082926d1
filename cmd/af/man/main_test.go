package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afgen/afgen/cmd/af/internal/cli"
)

// There is a page for each command, with flags as users write them. The pages don't depend on the time.
func TestPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	first, second := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := write(dir); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := filepath.WalkDir(first, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		name, err := filepath.Rel(first, path)
		if err != nil {
			return err
		}
		if a, b := read(t, path), read(t, filepath.Join(second, name)); a != b || len(a) < 200 {
			t.Errorf("%s differs, or is short", name)
		}
		return nil
	})
	if commands := len(cli.Command().Commands()); err != nil || n != commands+1+4 {
		t.Errorf("%d files for %d commands, %v", n, commands, err)
	}
	page := read(t, filepath.Join(first, "man", "af.1"))
	for _, want := range []string{`.TH "AF" "1" "Nov 2023" "afgen" "afgen"`, ".SH ENVIRONMENT", `\fB-c\fP, \fB-config\fP`,
		`\fB-token-file\fP`, ".EX\naf top  ", `\fBaf-queues(1)\fP`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
