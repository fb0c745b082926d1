package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/oserror"
)

const (
	day     = "2006-01-02"
	suffix  = ".log"
	recheck = 5 * time.Second // interval for checking whether the file was moved, or can be opened again
)

// A file writes to the file of the current day. Each Write is one line.
type file struct {
	dir, name string
	keep      int   // days
	most      int64 // bytes of all files together; 0 for no limit
	console   *slog.Logger
	otherwise string // what happens to records while the file can't be written
	now       func() time.Time
	open      func(path string) (writer, error)

	total atomic.Int64 // lines lost since the log was opened; read without mu, which is held while out blocks

	mu         sync.Mutex
	out        writer
	path       string
	begin, end time.Time // of the file's day
	checked    time.Time
	late       error // why the file of the current day could not be opened
	size       int64 // of the file: the last one read, plus unseen
	unseen     int64 // bytes that this process has written since it read the size
	torn       bool  // the last line was written partially
	lost       int64 // lines lost since failing was set
	failing    bool
	closed     bool
}

// A writer is the part of *os.File that a file uses.
type writer interface {
	Write(p []byte) (int, error)
	Stat() (os.FileInfo, error)
	Close() error
}

func openFile(dir, name string, keep int, most int64, console *slog.Logger) (*file, error) {
	shared, err := checkDir(dir, console)
	if err != nil {
		return nil, advise(err)
	}
	f := &file{dir: dir, name: name, keep: keep, most: most, console: console, otherwise: "logging to the console only",
		now: time.Now}
	f.open = func(path string) (writer, error) { return openSafely(path, shared) }
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if err := f.turn(now); err != nil {
		return nil, advise(err)
	}
	line := fmt.Sprintf("{\"time\":%q,\"level\":\"INFO\",\"msg\":\"log opened\",\"pid\":%d}\n",
		now.Format(time.RFC3339Nano), os.Getpid())
	if err := f.append([]byte(line)); err != nil {
		_ = f.out.Close() // err has the cause
		return nil, err
	}
	return f, nil
}

// Write writes a line. It returns a nil error: the first of consecutive failures is logged to the console.
func (f *file) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err, lost := errClosed, false
	if !f.closed {
		err, lost = f.write(line)
	}
	if lost {
		f.lost++
		f.total.Add(1)
	}
	switch {
	case err == errClosed:
	case err != nil:
		if !f.failing {
			f.failing = true
			f.console.Warn("can't write to the log file, "+f.otherwise, "error", err)
		}
	case f.failing:
		f.console.Info("writing to the log file again", "path", f.path, "lost", f.lost)
		f.failing, f.lost = false, 0
	}
	return len(line), nil
}

// write writes a line to the file of the current day. If that can't be opened, it writes to the previous file and
// returns the error, but the line is not lost.
func (f *file) write(line []byte) (err error, lost bool) {
	now := f.now()
	if f.late != nil && now.Sub(f.checked).Abs() >= recheck ||
		f.late == nil && (now.Before(f.begin) || !now.Before(f.end) || f.moved(now) || f.filled()) {
		f.late = f.turn(now)
	}
	if err := f.append(line); err != nil {
		return err, true
	}
	return f.late, false
}

// append appends a line with one write. After a partial write it begins a new line.
func (f *file) append(line []byte) error {
	if f.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := f.out.Write(line)
	if n > 0 {
		f.torn = n < len(line)
		f.size, f.unseen = f.size+int64(n), f.unseen+int64(n)
	}
	if err != nil {
		return explain("write to", f.path, err)
	}
	return nil
}

// turn opens the file of the current day, closes the previous one and removes old files.
func (f *file) turn(now time.Time) error {
	f.checked = now
	if err := os.MkdirAll(f.dir, 0o750); err != nil {
		return explain("make", f.dir, err)
	}
	path := f.part(now.Format(day))
	out, err := f.open(path)
	if err != nil {
		return explain("open", path, err)
	}
	f.size, f.unseen = 0, 0
	if info, err := out.Stat(); err == nil {
		f.size = info.Size()
	}
	if f.out != nil {
		_ = f.out.Close() // nothing is buffered
	}
	f.out, f.path, f.torn = out, path, false
	f.begin = time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	f.end = time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, now.Location())
	f.prune()
	return nil
}

// moved reports whether the file was moved or removed. It checks every few seconds.
func (f *file) moved(now time.Time) bool {
	if now.Sub(f.checked).Abs() < recheck {
		return false
	}
	f.checked = now
	is, err := os.Stat(f.path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	f.size, f.unseen = is.Size(), 0
	was, err := f.out.Stat()
	return err == nil && !os.SameFile(is, was)
}

func (f *file) current() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.path
}

func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	if err := f.out.Close(); err != nil {
		return explain("close", f.path, err)
	}
	return nil
}

// explain returns an error whose code is derived from an error of the operating system.
func explain(what, path string, err error) error {
	return backend.Errorf(oserror.Code(err, backend.ErrFailedPrecondition), "can't %s the log %s (logger.path): %w%s",
		what, path, err, oserror.Remedy(err))
}

// advise adds to an error of opening the log which key to set, unless freeing a resource is the remedy.
func advise(err error) error {
	if backend.CodeOf(err) == backend.ErrResourceExhausted {
		return err
	}
	return fmt.Errorf(`%w; set logger.path to another directory, or to "" to log to the console only`, err)
}
