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
		base, deep, ok := dirOfPattern(cfg.Dir, p)
		if !ok {
			f.rest = append(f.rest, p)
			continue
		}
		if err := f.walk(cfg, base, deep); err != nil {
			return nil, err
		}
	}
	slices.Sort(f.dirs)
	f.dirs = slices.Compact(f.dirs)
	return f, nil
}

// dirOfPattern is the directory that a pattern names, and whether it means those below, too; false for import paths.
func dirOfPattern(dir, pattern string) (base string, deep, ok bool) {
	base, deep = strings.CutSuffix(pattern, "/...")
	if pattern == "..." {
		base, deep = ".", true
	}
	if !isDirPattern(base) || strings.Contains(base, "...") {
		return "", false, false
	}
	base = filepath.FromSlash(base)
	if !filepath.IsAbs(base) {
		base = filepath.Join(dir, base)
	}
	return base, deep, true
}

// matches reports whether a pattern names a directory, which need not be there, or the import path of its package.
func matches(from, pattern, dir, importPath string) bool {
	base, deep, ok := dirOfPattern(from, pattern)
	if !ok {
		prefix, deep := strings.CutSuffix(pattern, "...")
		return pattern == importPath || pattern == "all" || deep && strings.HasPrefix(importPath+"/", prefix)
	}
	rel, err := filepath.Rel(base, dir)
	if err != nil || rel != "." && (!deep || !filepath.IsLocal(rel)) {
		return false
	}
	ignored := ignoredBy(base)
	for rel != "." {
		at := filepath.Join(base, rel)
		if outside(filepath.Base(rel)) || ignored(at) || exists(filepath.Join(at, "go.mod")) {
			return false
		}
		rel = filepath.Dir(rel)
	}
	return true
}

// isDirPattern reports whether a pattern means a directory, by the go command's rule.
func isDirPattern(p string) bool {
	return p == "." || p == ".." || strings.HasPrefix(p, "./") || strings.HasPrefix(p, "../") || filepath.IsAbs(p)
}

// walk searches a directory, and those below that the go command would match with "...".
func (f *found) walk(cfg Config, root string, deep bool) error {
	info, err := os.Stat(root)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", root)
	}
	if deep {
		f.ignored = ignoredBy(root)
	}
	return f.visit(cfg, root, deep)
}

// visit searches a directory and, if deep, those below that "..." matches. Only the first may be a symbolic link.
func (f *found) visit(cfg Config, dir string, deep bool) error {
	entries, err := f.search(cfg, dir)
	if err != nil || !deep {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || outside(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if f.ignored(path) {
			continue
		}
		if mod := filepath.Join(path, "go.mod"); exists(mod) {
			f.modules = append(f.modules, mod)
			continue
		}
		if err := f.visit(cfg, path, true); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// outside reports whether "..." stops at a directory of this name. It stops at another module, too.
func outside(name string) bool {
	return name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

// search looks into the files of one directory, once, and returns what is in it.
func (f *found) search(cfg Config, dir string) ([]fs.DirEntry, error) {
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
		f.classify(cfg, dir, name, content)
	}
	return entries, nil
}

// classify notes what one file means for the scan.
func (f *found) classify(cfg Config, dir, name string, content []byte) {
	path := filepath.Join(dir, name)
	ignored := strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".")
	f.code = f.code || strings.HasSuffix(name, ".go") && !ignored
	switch {
	case cfg.Generated(name, content):
		f.outputs = append(f.outputs, path)
	case !strings.HasSuffix(name, ".go") || !directive.MayContain(content):
	case strings.HasSuffix(name, "_test.go"):
		f.skip(path, content, "test files are not scanned")
	case ignored:
		f.skip(path, content, "the go command ignores files of this name")
	default:
		f.dirs = append(f.dirs, dir)
	}
}

// skip notes a file that is not scanned, if that means anything.
func (f *found) skip(path string, content []byte, reason string) {
	if annotates(content) {
		f.skipped = append(f.skipped, Skipped{path, reason})
	}
}
