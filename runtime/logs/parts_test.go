package logs

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// size returns the total size of the daily files of a directory.
func size(t *testing.T, dir string) (sum int64) {
	t.Helper()
	paths, err := daily(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}

// The files do not exceed their total size, and have the newest lines in order.
func TestLogSizeIsLimited(t *testing.T) {
	b := newBench(t)
	b.most = 80_000
	other := filepath.Join(b.dir, "other-2026-11-24.log")
	if err := os.WriteFile(other, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 999)
	for range 1000 {
		b.line(line)
		if b.size > b.most/parts+1000 {
			t.Fatalf("a part has %d bytes", b.size)
		}
	}
	b.line("last")
	if err := os.Remove(other); err != nil { // files of other programs are not removed
		t.Fatal(err)
	}
	if got := size(t, b.dir); got > b.most || got < b.most*3/4 {
		t.Errorf("%d bytes, want at most %d", got, b.most)
	}
	lines := linesIn(t, b.dir)
	if lines[len(lines)-1] != "last" || len(lines) < 60 {
		t.Errorf("%d lines, %.20s", len(lines), lines[len(lines)-1])
	}
	if name := filepath.Base(b.path); name != "app-2026-11-24.99.log" && name != "app-2026-11-24.100.log" {
		t.Errorf("the last part is %s in %q", name, b.files(t))
	}
	if b.console.Len() > 0 {
		t.Errorf("the console: %s", b.console.String())
	}
}

// A process notices that others have filled the part, and continues in the same next part as they do.
func TestProcessesShareParts(t *testing.T) {
	b := newBench(t)
	b.most = parts * 2 * statEvery
	other, err := os.OpenFile(b.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Write(make([]byte, 2*statEvery)); err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 999)
	for range statEvery/1000 + 2 {
		b.line(line)
	}
	want := "app-2026-11-24.1.log"
	if got := filepath.Base(b.path); got != want {
		t.Errorf("got the part %s, want %s", got, want)
	}
	late, err := openFile(b.dir, "app", 7, b.most, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer late.close()
	late.now = b.now
	if _, err := late.Write([]byte("late\n")); err != nil || filepath.Base(late.path) != want {
		t.Errorf("a later process writes to %s, %v", late.path, err)
	}
}

func TestPartsAreSortedByNumber(t *testing.T) {
	d := t.TempDir()
	want := []string{
		"a-2026-11-23.10.log", "a-2026-11-24.log", "a-2026-11-24.2.log", "a-2026-11-24.10.log", "b-2026-11-24.log",
	}
	for _, name := range append(want, "a-2026-11-24.x.log", "a-2026-11-24.0.log", "a-2026-11-24.1.log.gz") {
		if err := os.WriteFile(filepath.Join(d, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := daily(d)
	for i := range got {
		got[i] = filepath.Base(got[i])
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}
