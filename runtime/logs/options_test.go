package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

// A log without files writes nothing to the working directory, and counts records that the console loses.
func TestConsoleOnlyWritesNoFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var w breaking
	l, err := Open(Options{ConsoleOnly: true, Console: &w})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(l.Handler())
	log.Info("one")
	w.broken.Store(true)
	log.Info("unseen")
	log.Info("unseen")
	w.broken.Store(false)
	log.Info("two")
	if err := errors.Join(l.Close(), l.Close()); err != nil || l.Path() != "" {
		t.Errorf("path %q, %v", l.Path(), err)
	}
	log.Info("after the end")
	for text, want := range map[string]int{
		"msg=one": 1, "unseen": 0, "msg=two": 1, `msg="after the end"`: 1,
		`msg="writing to the console again" lost=2`: 1,
	} {
		if n := strings.Count(w.String(), text); n != want {
			t.Errorf("%d times %s, want %d, in\n%s", n, text, want, w.String())
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestConsoleAsJSON(t *testing.T) {
	var console bytes.Buffer
	for _, o := range []Options{{ConsoleOnly: true}, {Dir: t.TempDir()}} {
		console.Reset()
		o.JSON, o.Console = true, &console
		l, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		slog.New(l.Handler()).Info("one", "n", 1)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		var r struct {
			Msg string
			N   int
		}
		if err := json.Unmarshal(console.Bytes(), &r); err != nil || r.Msg != "one" || r.N != 1 {
			t.Errorf("%+v: %v: %s", o, err, console.String())
		}
	}
}

// With FilesOnly the console gets the failures of the file and nothing else.
func TestFilesOnlyReportsFailuresToTheConsole(t *testing.T) {
	dir := t.TempDir()
	var console bytes.Buffer
	l, err := Open(Options{Dir: dir, FilesOnly: true, Console: &console})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log := slog.New(l.Handler())
	log.Info("one")
	if console.Len() > 0 {
		t.Errorf("the console: %s", console.String())
	}
	working := l.file.out
	gone, err := os.Open(l.Path()) // not for writing
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	l.file.out = gone
	log.Info("lost")
	l.file.out = working
	log.Info("two")
	if got := console.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "records are lost") ||
		!strings.Contains(got, "lost=1") {
		t.Errorf("the console: %s", got)
	}
	if got := l.Lost(); len(got) != 1 || got["file"] != 1 {
		t.Errorf("lost %v", got)
	}
	if text := strings.Join(linesIn(t, dir), "\n"); !strings.Contains(text, `"msg":"two"`) {
		t.Errorf("the file: %s", text)
	}
}

func TestOptionsWithoutEffectAreRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, o := range []Options{
		{ConsoleOnly: true, FilesOnly: true}, {ConsoleOnly: true, Dir: "logs"}, {ConsoleOnly: true, Name: "x"},
		{ConsoleOnly: true, Keep: 1}, {ConsoleOnly: true, MaxSize: 1}, {FilesOnly: true, JSON: true},
	} {
		if l, err := Open(o); !errors.Is(err, backend.ErrInvalidArgument) {
			t.Errorf("%+v: %v, %v", o, l, err)
		}
	}
}
