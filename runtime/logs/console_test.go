package logs

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A breaking is a writer that fails while broken is set.
type breaking struct {
	bytes.Buffer
	broken atomic.Bool
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.broken.Load() {
		return 0, os.ErrClosed
	}
	return b.Buffer.Write(p)
}

// If the console can't be written, the file gets one warning, and later a line with the number of lost records.
func TestBrokenConsoleIsOneWarning(t *testing.T) {
	dir := t.TempDir()
	var w breaking
	l, err := Open(Options{Dir: dir, Console: &w})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log := slog.New(l.Handler())
	log.Info("one")
	w.broken.Store(true)
	for range 100 {
		log.Info("unseen")
	}
	w.broken.Store(false)
	log.Info("two")
	log.Info("three")
	file := strings.Join(linesIn(t, dir), "\n")
	for text, want := range map[string]int{
		`"msg":"unseen"`: 100, "can't write to the console": 1, `"level":"WARN"`: 1,
		`"msg":"writing to the console again","lost":100`: 1,
	} {
		if n := strings.Count(file, text); n != want {
			t.Errorf("%d times %s, want %d, in\n%s", n, text, want, file)
		}
	}
	h := l.Handler().WithAttrs(nil).WithGroup("g").(interface{ Lost() map[string]int64 }) // of an App
	if got := h.Lost(); len(got) != 1 || got["console"] != 100 {
		t.Errorf("lost %v", got)
	}
	if got := w.String(); strings.Contains(got, "unseen") || strings.Count(got, "\n") != 3 {
		t.Errorf("the console:\n%s", got)
	}
}

// If neither the console nor the file can be written, logging does not deadlock.
func TestBrokenConsoleAndFile(t *testing.T) {
	dir := t.TempDir()
	var w breaking
	l, err := Open(Options{Dir: dir, Console: &w})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log := slog.New(l.Handler())
	working := l.file.out
	gone, err := os.Open(l.Path()) // not for writing
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	l.file.out = gone
	w.broken.Store(true)
	log.Info("lost")
	log.Info("lost")
	w.broken.Store(false)
	log.Info("console only")
	l.file.out = working
	log.Info("both")
	file := strings.Join(linesIn(t, dir), "\n")
	if !strings.Contains(w.String(), "console only") || strings.Contains(w.String(), "msg=lost") ||
		!strings.Contains(file, `"msg":"both"`) || strings.Contains(file, `"msg":"lost"`) {
		t.Errorf("the console:\n%s\nthe file:\n%s", w.String(), file)
	}
}

// stopped is a terminal whose output is stopped.
type stopped struct{ entered, release chan struct{} }

func (s stopped) Write(p []byte) (int, error) {
	close(s.entered)
	<-s.release
	return len(p), nil
}

// Metrics have the number of lost records, so reading it does not wait for a console that blocks.
func TestLostDoesNotWaitForConsole(t *testing.T) {
	w := stopped{make(chan struct{}), make(chan struct{})}
	l, err := Open(Options{Dir: t.TempDir(), Console: w})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var running sync.WaitGroup
	running.Go(func() { slog.New(l.Handler()).Info("one") })
	<-w.entered
	read := make(chan struct{})
	running.Go(func() {
		defer close(read)
		if lost := l.Lost(); len(lost) > 0 {
			t.Errorf("lost %v", lost)
		}
	})
	select {
	case <-read:
	case <-time.After(30 * time.Second):
		t.Error("Lost waits for the console")
	}
	close(w.release)
	running.Wait()
}
