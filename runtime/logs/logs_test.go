package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/config"
)

func TestMain(m *testing.M) {
	testkit.Children{"writer": func() int {
		if err := writeLines(os.Getenv("AF_TEST_LOGS")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}}.Run()
	os.Exit(m.Run())
}

const (
	processes = 4
	perEach   = 1000
)

// writeLines writes lines from four goroutines, in a child process.
func writeLines(dir string) error {
	l, err := Open(Options{Dir: dir, Name: "shared", Console: io.Discard})
	if err != nil {
		return err
	}
	log := slog.New(l.Handler())
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range perEach / 4 {
				log.Info("line", "pid", os.Getpid(), "n", g*perEach+i, "filler", strings.Repeat("x", i*40))
			}
		})
	}
	all.Wait()
	return l.Close()
}

// Lines that several processes write to one file are not mixed, even if they are longer than a pipe's buffer.
func TestProcessesShareAFile(t *testing.T) {
	dir := t.TempDir()
	var all []*testkit.Child
	for range processes {
		all = append(all, testkit.Start(t, "writer", "AF_TEST_LOGS="+dir))
	}
	for _, child := range all {
		child.End(t)
	}
	seen := map[string]bool{}
	for _, line := range linesIn(t, dir) {
		var r struct {
			Msg    string
			PID, N int
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %.200s", err, line)
		}
		if r.Msg == "line" {
			seen[fmt.Sprint(r.PID, " ", r.N)] = true
		}
	}
	if len(seen) != processes*perEach {
		t.Errorf("%d lines, want %d", len(seen), processes*perEach)
	}
}

// linesIn returns the lines of all daily files.
func linesIn(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := daily(dir)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
	}
	return lines
}

func TestConsoleAndFileGetTheSameRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there")
	var console bytes.Buffer
	l, err := Open(Options{Dir: dir, Name: "my app", Level: slog.LevelWarn, Console: &console})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(l.Handler()).With("service", "shop")
	log.Info("too little")
	log.Warn("enough", "password", config.Secret("hunter2"), "config", config.MongoDB{Password: "hunter2"})
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	log.Warn("after the end")
	text := strings.Join(linesIn(t, dir), "\n")
	for name, got := range map[string]string{"console": console.String(), "file": text} {
		if !strings.Contains(got, "enough") || !strings.Contains(got, "shop") || strings.Contains(got, "too little") {
			t.Errorf("%s: %s", name, got)
		}
		if strings.Contains(got, "hunter2") {
			t.Errorf("%s: a secret is visible: %s", name, got)
		}
	}
	if !strings.Contains(console.String(), "after the end") || strings.Contains(text, "after the end") {
		t.Errorf("after the end:\n%s%s", console.String(), text)
	}
	if want := "my_app-" + time.Now().Format("2006-01-02") + ".log"; filepath.Base(l.Path()) != want {
		t.Errorf("the file is %s, not %s", l.Path(), want)
	}
}

func TestOpenFailsIfThePathIsOccupied(t *testing.T) {
	dir := t.TempDir()
	occupied := filepath.Join(dir, "occupied")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Dir: occupied, Console: io.Discard})
	if e, ok := errors.AsType[*backend.Error](err); !ok || e.Code != backend.ErrFailedPrecondition ||
		!strings.Contains(err.Error(), occupied) || !strings.Contains(err.Error(), "set logger.path to another directory") {
		t.Errorf("a file in place of the directory: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "x-"+time.Now().Format(day)+suffix), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Name: "x", Console: io.Discard}); err == nil {
		t.Error("no error for a directory in place of the file")
	}
}

// A bench is a file with a clock and a disk that the test controls.
type bench struct {
	*file
	at      time.Time
	full    bool
	short   bool
	shut    bool
	console bytes.Buffer
}

type disk struct {
	writer
	b *bench
}

func (d disk) Write(p []byte) (int, error) {
	switch {
	case d.b.short:
		n, _ := d.writer.Write(p[:len(p)/2])
		return n, syscall.ENOSPC
	case d.b.full:
		return 0, syscall.ENOSPC
	}
	return d.writer.Write(p)
}

func newBench(t *testing.T) *bench {
	b := &bench{at: time.Date(2026, 11, 24, 23, 59, 59, 0, time.Local)}
	b.file = &file{
		dir: t.TempDir(), name: "app", keep: 7, console: slog.New(slog.NewTextHandler(&b.console, nil)),
		now: func() time.Time { return b.at },
		open: func(path string) (writer, error) {
			if b.shut {
				return nil, os.ErrPermission
			}
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
			return disk{f, b}, err
		},
	}
	if err := b.turn(b.at); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.close() })
	return b
}

func (b *bench) line(text string) { _, _ = b.Write([]byte(text + "\n")) }

func (b *bench) files(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestSevenDaysAreKept(t *testing.T) {
	b := newBench(t)
	others := []string{
		"app-2026-01-01.log.gz", "application-2026-01-01.log", "app-2026-1-1.log", "other-app-2026-01-01.log",
	}
	for _, name := range append(others, "app-2026-01-01.log") {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte("x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for d := range 10 {
		b.line(fmt.Sprint("day ", d))
		b.at = b.at.Add(time.Second) // midnight
		b.line(fmt.Sprint("night ", d))
		b.at = b.at.AddDate(0, 0, 1).Add(-time.Second)
	}
	var want []string
	for d := 28; d <= 30; d++ {
		want = append(want, fmt.Sprintf("app-2026-11-%d.log", d))
	}
	for d := 1; d <= 4; d++ {
		want = append(want, fmt.Sprintf("app-2026-12-0%d.log", d))
	}
	want = append(want, others...)
	slices.Sort(want)
	if got := b.files(t); !slices.Equal(got, want) {
		t.Errorf("files\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if text, err := os.ReadFile(filepath.Join(b.dir, "app-2026-12-03.log")); string(text) != "night 8\nday 9\n" {
		t.Errorf("%s, %v", text, err)
	}
	b.at = b.at.AddDate(-1, 0, 0) // after the clock was set back, the oldest file is written to
	b.line("before")
	if b.line("again"); filepath.Base(b.path) != "app-2025-12-04.log" || len(b.files(t)) != len(want) {
		t.Errorf("%s, %d files", b.path, len(b.files(t)))
	}
	if b.console.Len() > 0 {
		t.Errorf("the console: %s", b.console.String())
	}
}

// A full disk causes one warning, and a line when writing works again. A partially written line damages no other.
func TestFullDiskIsOneWarning(t *testing.T) {
	b := newBench(t)
	b.line("one")
	b.short = true
	b.line("cut-in-two")
	b.short, b.full = false, true
	for range 100 {
		b.line("lost")
	}
	if n := strings.Count(b.console.String(), "\n"); n != 1 || !strings.Contains(b.console.String(), "level=WARN") {
		t.Errorf("the console: %s", b.console.String())
	}
	b.full = false
	b.line("two")
	if !strings.Contains(b.console.String(), "lost=101") || strings.Count(b.console.String(), "\n") != 2 {
		t.Errorf("the console: %s", b.console.String())
	}
	if text := strings.Join(linesIn(t, b.dir), "|"); text != "one|cut-i|two" {
		t.Errorf("the file: %s", text)
	}
}

// If the file of a new day can't be opened, lines go to the previous one, and opening is retried.
func TestOpeningTheFileOfADayIsRetried(t *testing.T) {
	b := newBench(t)
	b.shut = true
	b.at = b.at.Add(time.Minute)
	for range 100 {
		b.line("late")
		b.at = b.at.Add(time.Second)
	}
	if n := b.total.Load(); n != 0 {
		t.Errorf("%d lines are counted as lost", n)
	}
	if n := strings.Count(b.console.String(), "\n"); n != 1 {
		t.Errorf("the console: %s", b.console.String())
	}
	b.shut = false
	b.at = b.at.Add(recheck)
	b.line("back")
	if text, err := os.ReadFile(filepath.Join(b.dir, "app-2026-11-25.log")); string(text) != "back\n" {
		t.Errorf("%s, %v", text, err)
	}
	if n := len(linesIn(t, b.dir)); n != 101 {
		t.Errorf("%d lines", n)
	}
}

func TestMovedFileIsCreatedAgain(t *testing.T) {
	b := newBench(t)
	b.at = b.at.Add(-time.Hour)
	b.line("one")
	if err := os.RemoveAll(b.dir); err != nil {
		t.Fatal(err)
	}
	b.at = b.at.Add(recheck)
	b.line("two")
	if text := strings.Join(linesIn(t, b.dir), "|"); text != "two" {
		t.Errorf("the file: %s", text)
	}
}

func TestFindReadsTheRecordsOfATaskFromAllFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, lines ...string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	record := func(n int, task string) string {
		var b bytes.Buffer
		slog.New(slog.NewJSONHandler(&b, nil)).Info(fmt.Sprint(n), "task", task, "instance", "i")
		return strings.TrimSpace(b.String())
	}
	const id = `a<b>&"c"` // users may choose any id
	long := record(6, id+strings.Repeat("x", 3<<20))
	write("b-2026-11-24.log", record(2, id), record(9, id+"2"), long, record(3, id),
		`{"msg":"inside","x":{"task":"a<b>&\"c\""}}`)
	write("a-2026-11-24.log", record(1, id), `{"task":"a<b>`)
	write("a-2026-11-25.log", "\x00\x00", record(4, id)[:20], record(4, id))
	write("a-2026-11-25.txt", record(9, id))
	var got []string
	for e, err := range Find(dir, id) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Time.IsZero() || e.Level != slog.LevelInfo || !strings.Contains(string(e.Line), `"instance":"i"`) {
			t.Errorf("%+v", e)
		}
		got = append(got, e.Message)
	}
	if s := strings.Join(got, " "); s != "1 2 3 4" {
		t.Errorf("found %s", s)
	}
	for range Find(dir, id) {
		break
	}
	for _, err := range Find(filepath.Join(dir, "nowhere"), id) {
		if !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	l, err := Open(Options{Dir: b.TempDir(), Console: io.Discard})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	log := slog.New(l.Handler())
	b.ReportAllocs()
	for b.Loop() {
		log.Info("a record", "task", "abc", "attempt", 1)
	}
}
