// Package pattern knows what package patterns such as ./... mean to the go command, as far as they name directories: which
// ones a pattern names, and where "..." stops.
package pattern

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Dir returns the directory that a pattern names, as seen from another, and whether the pattern names those below, too. It
// returns false for import paths.
func Dir(from, pattern string) (base string, deep, ok bool) {
	base, deep = strings.CutSuffix(pattern, "/...")
	if pattern == "..." {
		base, deep = ".", true
	}
	if !IsDir(base) || strings.Contains(base, "...") {
		return "", false, false
	}
	base = filepath.FromSlash(base)
	if !filepath.IsAbs(base) {
		base = filepath.Join(from, base)
	}
	return base, deep, true
}

// Matches reports whether a pattern names a directory, which need not be there, or the import path of its package.
func Matches(from, pattern, dir, importPath string) bool {
	base, deep, ok := Dir(from, pattern)
	if !ok {
		prefix, deep := strings.CutSuffix(pattern, "...")
		return pattern == importPath || pattern == "all" || deep && strings.HasPrefix(importPath+"/", prefix)
	}
	rel, err := filepath.Rel(base, dir)
	if err != nil || rel != "." && (!deep || !filepath.IsLocal(rel)) {
		return false
	}
	ignored := IgnoredBy(base)
	for rel != "." {
		at := filepath.Join(base, rel)
		if Outside(filepath.Base(rel)) || ignored(at) || IsModule(at) {
			return false
		}
		rel = filepath.Dir(rel)
	}
	return true
}

// IsDir reports whether a pattern means a directory, by the go command's rule.
func IsDir(p string) bool {
	return p == "." || p == ".." || strings.HasPrefix(p, "./") || strings.HasPrefix(p, "../") || filepath.IsAbs(p)
}

// IsModule reports whether a directory is the root of a module, where "..." stops.
func IsModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// Outside reports whether "..." stops at a directory of this name. It stops at another module, too.
func Outside(name string) bool {
	return name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

// AnyNames reports whether one of some patterns names a directory, as seen from another.
func AnyNames(from string, patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		base, deep, ok := Dir(from, p)
		return ok && (dir == base || deep && strings.HasPrefix(dir, strings.TrimSuffix(base, string(filepath.Separator))+string(filepath.Separator)))
	})
}

// Relative returns dir as seen from base, or dir itself if it can't be seen from there.
func Relative(base, dir string) string {
	if rel, err := filepath.Rel(base, dir); err == nil {
		return rel
	}
	return dir
}
