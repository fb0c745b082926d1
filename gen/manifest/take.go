package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Inputs are the inputs of a run.
type Inputs struct {
	Dir     string   // working directory
	Dirs    []string // directories whose Go files the run has read
	Modules []string // directories of modules that may change
	Paths   []string // files and directories, existing or not
	GOROOT  string   // "" if the standard library wasn't used
	Outputs []string // names of generated files
}

// Take returns the manifest of a run that began at start. It fails if a file was changed since, or the files of modules
// can't be read. It copies hashes of unchanged files from old, which may be nil.
func Take(start time.Time, in Inputs, old *Manifest) (*Manifest, error) {
	files, err := modules(in)
	if err != nil {
		return nil, err
	}
	t := &taker{start: start, rules: rules{outputs: in.Outputs}, known: map[string]*entry{}}
	t.learnFrom(old)
	m := &Manifest{Emitted: map[Sum]map[string]Sum{}, rules: t.rules}
	for _, dir := range slices.Sorted(slices.Values(in.Dirs)) {
		f, err := t.readDir(dir)
		if err != nil {
			return nil, err
		}
		m.directories = append(m.directories, f)
	}
	for _, p := range in.Paths {
		files[p] = true
	}
	for _, p := range slices.Sorted(maps.Keys(files)) {
		e, err := t.pathEntry(p)
		if err != nil {
			return nil, err
		}
		m.paths = append(m.paths, e)
	}
	return m, nil
}

type taker struct {
	start time.Time
	rules rules
	known map[string]*entry // of the older manifest, by path
}

func (t *taker) learnFrom(old *Manifest) {
	if old == nil {
		return
	}
	for _, f := range old.directories {
		for i, e := range f.entries {
			t.known[filepath.Join(f.path, e.name)] = &f.entries[i]
		}
	}
}

func (t *taker) readDir(dir string) (directory, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return directory{}, err
	}
	if !unchangedSince(info, t.start) {
		return directory{}, fmt.Errorf("%s has just been changed", dir)
	}
	entries, err := t.rules.names(dir)
	if err != nil {
		return directory{}, err
	}
	for i := range entries {
		if entries[i].kind == file {
			if err := t.fillEntry(&entries[i], filepath.Join(dir, entries[i].name)); err != nil {
				return directory{}, err
			}
		}
	}
	return directory{dir, entries}, nil
}

// pathEntry returns the entry of a path, which need not exist.
func (t *taker) pathEntry(path string) (entry, error) {
	e := entry{name: path}
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return e, nil
	case err != nil:
		return e, err
	case info.IsDir():
		e.kind = present
		return e, nil
	}
	e.kind = file
	return e, t.fillEntry(&e, path)
}

// fillEntry sets the stamp and sum of a file.
func (t *taker) fillEntry(e *entry, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if known := t.known[path]; known != nil && known.stamp != (stamp{}) && known.stamp == stampOf(info) {
		e.stamp, e.sum = known.stamp, known.sum
		return nil
	}
	if e.sum, info, err = hash(path); err != nil {
		return err
	}
	e.stamp = stampOf(info)
	if !unchangedSince(info, t.start) {
		return fmt.Errorf("%s has just been changed", path)
	}
	return nil
}

// unchangedSince reports whether a file or directory has certainly not been changed since t.
func unchangedSince(info fs.FileInfo, t time.Time) bool {
	s := stampOf(info)
	if s == (stamp{}) {
		s.mtime = info.ModTime().UnixNano()
	}
	return s.before(t)
}

// Wrote records the new content of a file that was written after Take. A nil content means that it was removed. Wrote
// returns false if the manifest doesn't list the directory of the file.
func (m *Manifest) Wrote(path string, content []byte) bool {
	dir, name := filepath.Split(path)
	dir = filepath.Clean(dir)
	i, ok := slices.BinarySearchFunc(m.directories, dir, func(f directory, dir string) int {
		return strings.Compare(f.path, dir)
	})
	if !ok {
		return false
	}
	f := &m.directories[i]
	at, ok := slices.BinarySearchFunc(f.entries, name, func(e entry, name string) int {
		return strings.Compare(e.name, name)
	})
	switch e := (entry{name: name, kind: file, sum: SumOf(content)}); {
	case content == nil && ok:
		f.entries = slices.Delete(f.entries, at, at+1)
	case content == nil:
	case ok:
		f.entries[at] = e
	default:
		f.entries = slices.Insert(f.entries, at, e)
	}
	return true
}
