package pattern

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// IgnoredBy returns the rule by which the module of a directory has directories left out of "...": the ignore lines of its
// go.mod. What is wrong with that file the go command says.
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

// ignores reports whether lines are about a directory or one above it. Those that begin with ./ are about one directory, others
// about all of that name.
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
