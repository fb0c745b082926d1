package scan

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/directive"
)

// found is what the byte search over the folders says.
type found struct {
	dirs    []string // with annotations in files that may be scanned; absolute
	rest    []string // patterns that only the go command can expand
	outputs []string // files that afgen generated
	skipped []Skipped

	searched map[string]bool // folders
}

// find expands the patterns that name folders and searches those. Other patterns (import paths) are left to the go
// command.
func find(cfg Config) (*found, error) {
	patterns := cfg.Patterns
	if len(patterns) == 0 {
		patterns = []string{"."}
	}
	f := &found{searched: map[string]bool{}}
	for _, p := range patterns {
		if strings.HasSuffix(p, ".go") {
			return nil, fmt.Errorf("%s: afgen takes packages (./..., ./shop), not files", p)
		}
		base, deep := strings.CutSuffix(p, "/...")
		if p == "..." {
			base, deep = ".", true
		}
		if !isFolder(base) || strings.Contains(base, "...") {
			f.rest = append(f.rest, p)
			continue
		}
		base = filepath.FromSlash(base)
		if !filepath.IsAbs(base) {
			base = filepath.Join(cfg.Dir, base)
		}
		if err := f.walk(cfg, base, deep); err != nil {
			return nil, err
		}
	}
	slices.Sort(f.dirs)
	f.dirs = slices.Compact(f.dirs)
	return f, nil
}

// isFolder says whether a pattern means a folder, by the go command's rule.
func isFolder(p string) bool {
	return p == "." || p == ".." || strings.HasPrefix(p, "./") || strings.HasPrefix(p, "../") || filepath.IsAbs(p)
}

// walk searches a folder, and those below that the go command would match with "...".
func (f *found) walk(cfg Config, root string, deep bool) error {
	info, err := os.Stat(root)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", root)
	}
	if !deep {
		return f.search(cfg, root)
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if path != root && outside(path, d.Name()) {
			return filepath.SkipDir
		}
		return f.search(cfg, path)
	})
}

// outside says whether "..." stops at a folder: hidden, testdata, vendored, or another module.
func outside(path, name string) bool {
	if name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	return err == nil
}

// search looks into the files of one folder, once.
func (f *found) search(cfg Config, dir string) error {
	if f.searched[dir] {
		return nil
	}
	f.searched[dir] = true
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !strings.HasSuffix(name, ".go") && !slices.Contains(cfg.OutputNames, name) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		f.classify(cfg, dir, name, content)
	}
	return nil
}

// classify notes what one file means for the scan.
func (f *found) classify(cfg Config, dir, name string, content []byte) {
	path := filepath.Join(dir, name)
	switch {
	case cfg.Generated(name, content):
		f.outputs = append(f.outputs, path)
	case !strings.HasSuffix(name, ".go") || !directive.MayContain(content):
	case strings.HasSuffix(name, "_test.go"):
		f.skip(path, content, "test files are not scanned")
	case strings.HasPrefix(name, "_") || strings.HasPrefix(name, "."):
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
