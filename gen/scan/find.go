package scan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/directive"
	"github.com/afgen/afgen/gen/scan/internal/pattern"
)

// found is what the byte search over the directories says.
type found struct {
	dirs    []string // with annotations in files that may be scanned; absolute
	rest    []string // patterns that only the go command can expand
	outputs []string // files that afgen generated
	skipped []Skipped
	code    bool // there is Go code, which build constraints may exclude here

	searched map[string][]fs.DirEntry // directories, and what is in them
	modules  []string                 // the go.mod files of other modules, where "..." stops
	ignored  func(dir string) bool    // whether it stops there because go.mod says so
}

// find expands the patterns that name directories and searches those. Other patterns (import paths) are left to the go
// command.
func find(cfg Config) (*found, error) {
	f := &found{searched: map[string][]fs.DirEntry{}}
	for _, p := range cfg.patterns() {
		if strings.HasSuffix(p, ".go") {
			return nil, fmt.Errorf("%s: afgen takes packages (./..., ./shop), not files", p)
		}
		base, deep, ok := pattern.Dir(cfg.Dir, p)
		if !ok {
			f.rest = append(f.rest, p)
			continue
		}
		if err := f.walkDir(cfg, base, deep); err != nil {
			return nil, err
		}
	}
	slices.Sort(f.dirs)
	f.dirs = slices.Compact(f.dirs)
	return f, nil
}

// walkDir searches a directory, and those below that the go command would match with "...".
func (f *found) walkDir(cfg Config, root string, deep bool) error {
	info, err := os.Stat(root)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", root)
	}
	if deep {
		f.ignored = pattern.IgnoredBy(root)
	}
	return f.visitDir(cfg, root, deep)
}

// visitDir searches a directory and, if deep, those below that "..." matches. Only the first may be a symbolic link.
func (f *found) visitDir(cfg Config, dir string, deep bool) error {
	entries, err := f.searchDir(cfg, dir)
	if err != nil || !deep {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || pattern.Outside(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if f.ignored(path) {
			continue
		}
		if pattern.IsModule(path) {
			f.modules = append(f.modules, filepath.Join(path, "go.mod"))
			continue
		}
		if err := f.visitDir(cfg, path, true); err != nil {
			return err
		}
	}
	return nil
}

// searchDir looks into the files of one directory, once, and returns what is in it.
func (f *found) searchDir(cfg Config, dir string) ([]fs.DirEntry, error) {
	if entries, ok := f.searched[dir]; ok {
		return entries, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	f.searched[dir] = entries
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !strings.HasSuffix(name, ".go") && !slices.Contains(cfg.OutputNames, name) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if strings.HasPrefix(name, ".") && errors.Is(err, fs.ErrNotExist) {
			continue // the link by which an editor marks a file as open
		}
		if err != nil {
			return nil, err
		}
		f.classifyFile(cfg, dir, name, content)
	}
	return entries, nil
}

// classifyFile notes what one file means for the scan.
func (f *found) classifyFile(cfg Config, dir, name string, content []byte) {
	path := filepath.Join(dir, name)
	ignored := strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".")
	f.code = f.code || strings.HasSuffix(name, ".go") && !ignored
	switch {
	case cfg.Generated(name, content):
		f.outputs = append(f.outputs, path)
	case !strings.HasSuffix(name, ".go") || !directive.MayContain(content):
	case strings.HasSuffix(name, "_test.go"):
		f.skipFile(path, content, "test files are not scanned")
	case ignored:
		f.skipFile(path, content, "the go command ignores files of this name")
	default:
		f.dirs = append(f.dirs, dir)
	}
}

// skipFile notes a file that is not scanned, if that means anything.
func (f *found) skipFile(path string, content []byte, reason string) {
	if annotates(content) {
		f.skipped = append(f.skipped, Skipped{path, reason})
	}
}
