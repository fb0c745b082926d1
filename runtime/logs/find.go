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

// maxLine is the longest line that Find reads: a longer one is skipped.
const maxLine = 1 << 20

// An Entry is one record in a file.
type Entry struct {
	File    string
	Time    time.Time
	Level   slog.Level
	Message string
	Line    json.RawMessage // all of it
}

// Find reads what the task with this id has logged from the files in a folder, of all programs and days, oldest file first
// and in the order of each file. It ends after the first error, and reads as far as it is asked for. A line that is cut or
// longer than 1 MiB is skipped, and so is a file that is removed meanwhile.
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
		text.SetEscapeHTML(false) // as package slog does it
		if err := text.Encode(task); err != nil {
			yield(Entry{}, backend.Errorf(backend.ErrInvalidArgument, "the id %.80q of a task: %w", task, err))
			return
		}
		for _, path := range files {
			goOn, err := findIn(path, task, bytes.TrimSpace(mark.Bytes()), yield)
			if err != nil {
				yield(Entry{}, explain("read", path, err))
			}
			if err != nil || !goOn {
				return
			}
		}
	}
}

// findIn reads one file. mark is what the lines of the task have somewhere.
func findIn(path, task string, mark []byte, yield func(Entry, error) bool) (goOn bool, err error) {
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

// entry reads a line; ok says that it is one of the task.
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

// regular reports whether a file, or what a link leads to, is a plain one: opening another kind may wait for ever.
func regular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// daily returns the daily files of a directory, by day, program and part.
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
