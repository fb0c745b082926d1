package pattern

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// IgnoredBy returns a function that reports whether "..." skips a directory because of the ignore directives in the
// go.mod of dir's module. The go command reports errors in that file.
func IgnoredBy(dir string) func(dir string) bool {
	for root := dir; ; root = filepath.Dir(root) {
		path := filepath.Join(root, "go.mod")
		if content, err := os.ReadFile(path); err == nil {
			mod, err := modfile.ParseLax(path, content, nil)
			if err != nil || len(mod.Ignore) == 0 {
				break
			}
			return func(dir string) bool { return ignores(mod.Ignore, filepath.ToSlash(Relative(root, dir))) }
		}
		if root == filepath.Dir(root) {
			break
		}
	}
	return func(string) bool { return false }
}

// ignores reports whether lines name a directory or one above it. Lines that begin with ./ name one directory, others
// all with that name.
func ignores(lines []*modfile.Ignore, rel string) bool {
	rel = "/" + rel + "/"
	for _, line := range lines {
		path, rooted := strings.CutPrefix(line.Path, "./")
		path = "/" + strings.Trim(path, "/") + "/"
		if strings.HasPrefix(rel, path) || !rooted && strings.Contains(rel, path) {
			return true
		}
	}
	return false
}
