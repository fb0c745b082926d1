// Package logs writes a program's log to the console and to daily files, and finds the records of a task in these
// files.
//
//	log, err := logs.Open(logs.Options{Dir: "logs", Level: slog.LevelInfo})
//	app, err := af.Open(ctx, backend, af.Logger(slog.New(log.Handler())))
//	…
//	err = log.Close()
//
// auto.Options does so with the settings of config.yaml under logger. The App then closes the log.
//
// # Files
//
// A file is named <dir>/<program>-2026-11-24.log and has one JSON object per line. Days are in local time. Files of the
// last 7 days are kept, with at most 1 GiB in total. When the file of a day reaches an eighth of that, it continues in
// <program>-2026-11-24.1.log and so on, and the oldest files are removed.
//
// Any number of processes may write to one directory and to the same file: each record is appended by one write, and
// files are never renamed. If a file is moved or removed, a new one is created within seconds.
//
// Files are created with mode 0640, directories with 0750. Links of other users are not followed. In a directory where
// every user can create files, such as /tmp, files of other users are not written to.
//
// The console (standard error) gets the same records as text, or as JSON ([Options.JSON]). With [Options.ConsoleOnly]
// there are no files, and nothing is written to disk. With [Options.FilesOnly] the console gets only the two lines
// about failures of the files that the next section describes.
//
// # Failures
//
// If the file can't be written when the log is opened, [Open] returns an error. If writing fails later, because the
// disk is full or the directory was removed, records go to the console only. The console gets one warning, and a line
// with the number of lost records when the file can be written again. If the console can't be written, because its
// reader has exited, the file gets the same two lines.
//
// # Records of tasks
//
// A record that an App's handler logs has attributes such as the ids of the task and the instance, and the number of
// the attempt. [Find] reads the records of one task from the files of the node where it ran. The Log field of the task
// names that node and has the last lines.
package logs

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	keep    = 7
	maxSize = 1 << 30
)

// Options are the options of a log. A zero field means its default.
type Options struct {
	Dir         string       // directory of the files, created if missing; default "logs"
	Name        string       // prefix of the files' names; default the program's name
	Level       slog.Leveler // minimum level; default slog.LevelInfo
	Keep        int          // days to keep, including today; default 7
	MaxSize     int64        // total size in bytes of the files with Name; default 1 GiB
	Console     io.Writer    // default os.Stderr; io.Discard for none
	JSON        bool         // the console gets JSON instead of text
	ConsoleOnly bool         // no files; excludes Dir, Name, Keep and MaxSize
	FilesOnly   bool         // the console gets only failures of the files; excludes JSON and ConsoleOnly
}

// check returns an error if an option has no effect because of another.
func (o Options) check() error {
	files := o.Dir != "" || o.Name != "" || o.Keep != 0 || o.MaxSize != 0
	switch {
	case o.ConsoleOnly && o.FilesOnly:
		return backend.NewError(backend.ErrInvalidArgument, "logs.Options: ConsoleOnly and FilesOnly exclude each other")
	case o.ConsoleOnly && files:
		return backend.NewError(backend.ErrInvalidArgument,
			"logs.Options: Dir, Name, Keep and MaxSize have no effect with ConsoleOnly")
	case o.FilesOnly && o.JSON:
		return backend.NewError(backend.ErrInvalidArgument, "logs.Options: JSON has no effect with FilesOnly")
	}
	return nil
}

// A Log is an open log. Its methods are safe for concurrent use. The code that opened it must call Close.
type Log struct {
	handler slog.Handler
	file    *file // nil without files
	console *console
}

// Open opens a log and writes a first line to its file. If the directory or the disk can't be written to, it returns an
// error that names the file and wraps the operating system's error. If an option has no effect because of another, it
// returns an error with the code invalid_argument.
func Open(o Options) (*Log, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
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
	if o.ConsoleOnly {
		c.report = slog.New(o.handler(c, level))
		return newLog(o.handler(c, level), nil, c), nil
	}
	f, err := openFile(o.Dir, clean(o.Name), o.Keep, o.MaxSize, slog.New(o.handler(fileConsole{c}, level)))
	if err != nil {
		return nil, err
	}
	files := slog.NewJSONHandler(f, level)
	if o.FilesOnly {
		f.otherwise = "records are lost"
		return newLog(files, f, c), nil
	}
	c.report, c.fallback = slog.New(files), true
	return newLog(slog.NewMultiHandler(o.handler(c, level), files), f, c), nil
}

// handler returns the console's handler, which writes to w.
func (o Options) handler(w io.Writer, level *slog.HandlerOptions) slog.Handler {
	if o.JSON {
		return slog.NewJSONHandler(w, level)
	}
	return slog.NewTextHandler(w, level)
}

func newLog(h slog.Handler, f *file, c *console) *Log {
	l := &Log{file: f, console: c}
	l.handler = handler{h, l}
	return l
}

// Lost returns how many records could not be written since the log was opened, by where they are missing: "file" or
// "console". Others are not in the map. Lost never blocks, even while a record can't be written, such as to a stopped
// terminal.
func (l *Log) Lost() map[string]int64 {
	all := map[string]int64{}
	if n := l.console.total.Load(); n > 0 {
		all["console"] = n
	}
	if l.file == nil {
		return all
	}
	if n := l.file.total.Load(); n > 0 {
		all["file"] = n
	}
	return all
}

// A handler is a handler of a Log. An App finds its method Lost.
type handler struct {
	slog.Handler
	log *Log
}

// Lost is [Log.Lost].
func (h handler) Lost() map[string]int64 { return h.log.Lost() }

// WithAttrs implements [slog.Handler].
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.log}
}

// WithGroup implements [slog.Handler].
func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.log}
}

// Handler returns the handler that writes records to the log.
func (l *Log) Handler() slog.Handler { return l.handler }

// Path returns the path of the current file, or of the last one after Close. It returns "" if the log has no files.
func (l *Log) Path() string {
	if l.file == nil {
		return ""
	}
	return l.file.current()
}

// Close closes the file. Later records go to the console only. Closing a closed log has no effect.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.close()
}

// clean replaces the characters of a name that are not safe in file names.
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
