// Package logs writes a program's log to the console and to a file a day, and finds in those files what a task has logged.
//
//	log, err := logs.Open(logs.Options{Dir: "logs", Level: slog.LevelInfo})
//	app, err := af.Open(ctx, backend, af.Logger(slog.New(log.Handler())))
//	…
//	err = log.Close()
//
// auto.Options does that with what config.yaml says under logger, and has the App close it.
//
// # Files
//
// <dir>/<program>-2026-11-24.log has one JSON object a line, of a local day. The last 7 days are kept, and 1 GiB at most: a
// day's file continues in <program>-2026-11-24.1.log and so on, and the oldest are removed. Any number of processes may write to
// one directory, and to the same file: every record is one write that appends, a new day is a new name and nothing is ever
// renamed, and whichever process removes old files, they are the same. A file that is moved or removed is made anew within seconds.
//
// Files are made with mode 0640, directories with 0750. No link of another user is followed, and in a directory where every
// user can create files, such as /tmp, no file of another user is written.
//
// The console (standard error) gets the same records as text.
//
// # When files can't be written
//
// [Open] says so. Later (a full disk, a folder that is gone) the program goes on: records go to the console only, which
// gets one warning, and another line once the file is written again. What was not written is counted there, and lost. If the
// console can't be written, since its reader is gone, the file tells so in the same way.
//
// # Finding what a task has logged
//
// Records that an App's handlers log have the task's id, its attempt, the instance and more; [Find] reads those of one task
// from the files of the node where it ran. The task's own document names that node, where it has logged anything, and has its
// last lines.
package logs

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

const (
	keep    = 7
	maxSize = 1 << 30
)

// Options is where a log goes. The zero value of each field is its default.
type Options struct {
	Dir     string       // of the files, made where it doesn't exist; "logs"
	Name    string       // with which their names begin; the program's
	Level   slog.Leveler // the least that is logged; slog.LevelInfo
	Keep    int          // days, today included; 7
	MaxSize int64        // bytes of all files of the name together; 1 GiB
	Console io.Writer    // os.Stderr; io.Discard for none
}

// A Log is an open log. Its methods are safe for concurrent use. Whoever opened it closes it.
type Log struct {
	handler slog.Handler
	file    *file
}

// Open opens a log and writes a first line to its file, so that a folder or disk that can't be written to shows now: the
// error says which, and wraps the operating system's.
func Open(o Options) (*Log, error) {
	if o.Dir == "" {
		o.Dir = "logs"
	}
	if o.Name == "" {
		o.Name = strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	}
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	if o.Keep <= 0 {
		o.Keep = keep
	}
	if o.MaxSize <= 0 {
		o.MaxSize = maxSize
	}
	if o.Console == nil {
		o.Console = os.Stderr
	}
	level := &slog.HandlerOptions{Level: o.Level}
	c := &console{w: o.Console}
	f, err := openFile(o.Dir, clean(o.Name), o.Keep, o.MaxSize, slog.New(slog.NewTextHandler(fileConsole{c}, level)))
	if err != nil {
		return nil, err
	}
	c.file = slog.New(slog.NewJSONHandler(f, level))
	return &Log{slog.NewMultiHandler(slog.NewTextHandler(c, level), slog.NewJSONHandler(f, level)), f}, nil
}

// Handler returns where records go.
func (l *Log) Handler() slog.Handler { return l.handler }

// Path returns the file that is being written, or was last.
func (l *Log) Path() string { return l.file.current() }

// Close closes the file; records that still come go to the console only. Closing again does nothing.
func (l *Log) Close() error { return l.file.close() }

// clean is a name that is safe in a file's.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '_'
	}, name)
	if name == "" {
		return "log"
	}
	return name
}

var errClosed = errors.New("the log is closed")
