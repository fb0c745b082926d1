// Package pattern implements the go command's package patterns that name directories, such as ./shop and ./....
package pattern

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Dir returns the directory that a pattern names, relative to from. deep reports whether it also names those below. ok
// is false for import paths.
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

// Matches reports whether a pattern names a directory, which need not exist, or the import path of its package.
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

// IsDir reports whether the go command treats a pattern as a directory.
func IsDir(p string) bool {
	return p == "." || p == ".." || strings.HasPrefix(p, "./") || strings.HasPrefix(p, "../") || filepath.IsAbs(p)
}

// IsModule reports whether a directory is the root of a module, where "..." stops.
func IsModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// Outside reports whether "..." stops at a directory with this name. It also stops at other modules.
func Outside(name string) bool {
	return name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

// AnyNames reports whether one of the patterns, which are relative to from, names a directory.
func AnyNames(from string, patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		base, deep, ok := Dir(from, p)
		prefix := strings.TrimSuffix(base, string(filepath.Separator)) + string(filepath.Separator)
		return ok && (dir == base || deep && strings.HasPrefix(dir, prefix))
	})
}

// Relative returns dir relative to base, or dir itself if that isn't possible.
func Relative(base, dir string) string {
	if rel, err := filepath.Rel(base, dir); err == nil {
		return rel
	}
	return dir
}
