package logs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// parts is the number of parts that the total size of all files is divided into. When the file of a day has the size of
// a part, it continues in the next one: <program>-2026-11-24.1.log, and so on. So there is always a part that can be
// removed and is not being written to. Processes that share the files find the last part by its name.
const parts = 8

// statEvery is the number of bytes after which a process checks the size of the file, which others may also write to.
const statEvery = 64 << 10

var dated = regexp.MustCompile(`^(.+)-(\d{4}-\d\d-\d\d)(?:\.([1-9]\d{0,5}))?\.log$`)

// A logFile is the parsed name of a file.
type logFile struct {
	name    string
	program string
	day     string
	part    int
}

// parseName parses a file's name. ok is false for other files.
func parseName(name string) (l logFile, ok bool) {
	m := dated.FindStringSubmatch(name)
	if m == nil {
		return logFile{}, false
	}
	l = logFile{name: name, program: m[1], day: m[2]}
	if m[3] != "" {
		l.part, _ = strconv.Atoi(m[3]) // at most six digits
	}
	return l, true
}

// older compares two files by day, program and part.
func older(a, b logFile) int {
	return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.program, b.program), cmp.Compare(a.part, b.part))
}

// own returns the files of the program, oldest first.
func (f *file) own() ([]logFile, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var all []logFile
	for _, e := range entries {
		if l, ok := parseName(e.Name()); ok && l.program == f.name {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, older)
	return all, nil
}

// part returns the path of the last part of a day's file, or of the next part if that is full.
func (f *file) part(day string) string {
	first := filepath.Join(f.dir, f.name+"-"+day+suffix)
	all, err := f.own()
	if err != nil || f.most <= 0 {
		return first
	}
	all = slices.DeleteFunc(all, func(l logFile) bool { return l.day != day })
	if len(all) == 0 {
		return first
	}
	last := all[len(all)-1]
	path := filepath.Join(f.dir, last.name)
	if info, err := os.Lstat(path); err == nil && info.Size() >= f.most/parts {
		path = fmt.Sprintf("%s.%d%s", strings.TrimSuffix(first, suffix), last.part+1, suffix)
	}
	return path
}

// filled reports whether the current part is full.
func (f *file) filled() bool {
	if f.most <= 0 {
		return false
	}
	if f.unseen >= statEvery {
		if info, err := f.out.Stat(); err == nil {
			f.size = info.Size()
		}
		f.unseen = 0
	}
	return f.size >= f.most/parts
}

// prune removes the files of all but the newest days, and then the oldest files until the total size is within the
// limit. Other processes may do the same concurrently.
func (f *file) prune() {
	all, err := f.own()
	if err != nil {
		return // not a reason to stop writing
	}
	all = slices.DeleteFunc(all, func(l logFile) bool { return l.name == filepath.Base(f.path) })
	left := f.most - f.most/parts // minus the current part
	days, last := 1, ""
	if l, ok := parseName(filepath.Base(f.path)); ok {
		last = l.day
	}
	for _, l := range slices.Backward(all) {
		if l.day != last {
			days, last = days+1, l.day
		}
		path := filepath.Join(f.dir, l.name)
		if info, err := os.Lstat(path); err == nil {
			left -= info.Size()
		}
		if days <= f.keep && (f.most <= 0 || left >= 0) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.console.Warn("can't remove an old log file", "error", err)
		}
	}
}
