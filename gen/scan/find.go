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

// found is the result of the byte search over the directories.
type found struct {
	dirs    []string // absolute directories with annotated files
	rest    []string // patterns that only the go command can expand
	outputs []string // generated files
	skipped []Skipped
	code    bool // there are Go files, which may be excluded by build constraints

	searched map[string][]fs.DirEntry // the entries of directories
	modules  []string                 // the go.mod files of other modules, where "..." stops
	ignored  func(dir string) bool    // reports whether go.mod ignores a directory
}

// find expands the patterns that name directories and searches those. It leaves other patterns, such as import paths,
// to the go command.
func find(cfg Config) (*found, error) {
	f := &found{searched: map[string][]fs.DirEntry{}}
	for _, p := range cfg.patterns() {
		if strings.HasSuffix(p, ".go") {
			return nil, fmt.Errorf("%s: afgen takes packages, such as ./shop or ./..., not files", p)
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

// walkDir searches a directory, and if deep the directories below that "..." matches.
func (f *found) walkDir(cfg Config, root string, deep bool) error {
	info, err := os.Stat(root)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", root)
	}
	if deep {
		f.ignored = pattern.IgnoredBy(root)
	}
	return f.visitDir(cfg, root, deep)
}

// visitDir is walkDir for a directory that exists. Only the root may be a symbolic link.
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

// searchDir searches the files of a directory once, and returns its entries.
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
			continue // an editor's lock file, a dangling symbolic link
		}
		if err != nil {
			return nil, err
		}
		f.classifyFile(cfg, dir, name, content)
	}
	return entries, nil
}

// classifyFile records whether a file is generated, scanned or skipped.
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
		f.skipFile(path, content, "the go command ignores files with this name")
	default:
		f.dirs = append(f.dirs, dir)
	}
}

// skipFile records a file that is not scanned, if it has annotations.
func (f *found) skipFile(path string, content []byte, reason string) {
	if annotates(content) {
		f.skipped = append(f.skipped, Skipped{path, reason})
	}
}
