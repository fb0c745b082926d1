package logs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// maxLine is the length of the longest line that Find reads. It skips longer ones.
const maxLine = 1 << 20

// An Entry is a record in a log file.
type Entry struct {
	File    string
	Time    time.Time
	Level   slog.Level
	Message string
	Line    json.RawMessage // the whole record
}

// Find returns an iterator over the records that a task has logged to the files in a directory, of all programs and
// days. It reads the oldest file first, and ends after the first error. It skips lines that are truncated or longer
// than 1 MiB, and files that are removed meanwhile.
func Find(dir, task string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		files, err := daily(dir)
		if err != nil {
			yield(Entry{}, explain("read", dir, err))
			return
		}
		var mark bytes.Buffer
		mark.WriteString(`"task":`)
		text := json.NewEncoder(&mark)
		text.SetEscapeHTML(false) // like package slog
		if err := text.Encode(task); err != nil {
			yield(Entry{}, backend.Errorf(backend.ErrInvalidArgument, "task id %.80q: %w", task, err))
			return
		}
		for _, path := range files {
			more, err := findIn(path, task, bytes.TrimSpace(mark.Bytes()), yield)
			if err != nil {
				yield(Entry{}, explain("read", path, err))
			}
			if err != nil || !more {
				return
			}
		}
	}
}

// findIn reads one file. All lines of the task contain mark. more is false if yield has returned false.
func findIn(path, task string, mark []byte, yield func(Entry, error) bool) (more bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		for long := err; errors.Is(long, bufio.ErrBufferFull); {
			line, err = nil, nil
			_, long = in.ReadSlice('\n')
		}
		if bytes.Contains(line, mark) {
			if e, ok := entry(path, task, line); ok && !yield(e, nil) {
				return false, nil
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, err
		}
	}
}

// entry decodes a line. ok reports whether it is a record of the task.
func entry(path, task string, line []byte) (e Entry, ok bool) {
	var r struct {
		Time  time.Time  `json:"time"`
		Level slog.Level `json:"level"`
		Msg   string     `json:"msg"`
		Task  string     `json:"task"`
	}
	line = bytes.TrimSpace(line)
	if json.Unmarshal(line, &r) != nil || r.Task != task {
		return Entry{}, false
	}
	return Entry{path, r.Time, r.Level, r.Msg, bytes.Clone(line)}, true
}

// regular reports whether a file, or the target of a link, is a regular file. Opening others, such as pipes, may block.
func regular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// daily returns the paths of a directory's daily files, sorted by day, program and part.
func daily(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []logFile
	for _, e := range entries {
		if l, ok := parseName(e.Name()); ok && regular(filepath.Join(dir, l.name)) {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, older)
	paths := make([]string, len(all))
	for i, l := range all {
		paths[i] = filepath.Join(dir, l.name)
	}
	return paths, nil
}
