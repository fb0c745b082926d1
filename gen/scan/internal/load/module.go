package load

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/afgen/afgen/gen/scan/internal/pattern"
)

// A moduleDir is a module that afgen may write to.
type moduleDir struct{ path, dir string }

// DirOfPackage returns the directory of an import path, which need not exist, in the main module or the modules of the
// workspace. If the import path is in no module, why is the reason.
func (l *Loader) DirOfPackage(importPath string) (dir, why string) {
	if l.modules == nil {
		l.modules = l.findModules()
	}
	var best moduleDir
	for _, m := range l.modules {
		if (importPath == m.path || strings.HasPrefix(importPath, m.path+"/")) && len(m.path) > len(best.path) {
			best = m
		}
	}
	if best.path == "" {
		return "", "is not in the main module or the workspace"
	}
	dir = best.dir
	for element := range strings.SplitSeq(strings.TrimPrefix(strings.TrimPrefix(importPath, best.path), "/"), "/") {
		dir = filepath.Join(dir, element)
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil && dir != best.dir {
			mod := pattern.Relative(l.config.Dir, filepath.Join(dir, "go.mod"))
			return "", fmt.Sprintf("is in another module, see %s", filepath.ToSlash(mod))
		}
	}
	return dir, ""
}

// findModules returns the main modules of the listed packages, and the other modules of the workspace.
func (l *Loader) findModules() []moduleDir {
	all := []moduleDir{}
	seen := map[string]bool{}
	add := func(path, dir string) {
		if path != "" && dir != "" && !seen[path] {
			seen[path] = true
			all = append(all, moduleDir{path, dir})
		}
	}
	for _, u := range l.units {
		if m := u.Pkg.Module; m != nil && m.Main {
			add(m.Path, m.Dir)
		}
	}
	work := l.workFile()
	content, err := os.ReadFile(work)
	if err != nil { // no workspace; if nothing was listed, find the module
		if dir := l.findUp("go.mod"); dir != "" {
			mod, _ := os.ReadFile(filepath.Join(dir, "go.mod"))
			add(modfile.ModulePath(mod), dir)
		}
		return all
	}
	file, err := modfile.ParseWork(work, content, nil)
	if err != nil {
		return all // the go command has reported it
	}
	for _, use := range file.Use {
		dir := filepath.FromSlash(use.Path)
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(filepath.Dir(work), dir)
		}
		mod, _ := os.ReadFile(filepath.Join(dir, "go.mod"))
		add(modfile.ModulePath(mod), dir)
	}
	return all
}

// workFile returns the path of go.work, or "".
func (l *Loader) workFile() string {
	switch work := l.getenv("GOWORK"); work {
	case "off":
		return ""
	case "": // the nearest one
	default:
		return work
	}
	if dir := l.findUp("go.work"); dir != "" {
		return filepath.Join(dir, "go.work")
	}
	return ""
}

// findUp returns the working directory or the nearest one above that has a file with that name, or "".
func (l *Loader) findUp(file string) string {
	for dir := l.config.Dir; ; {
		if info, err := os.Stat(filepath.Join(dir, file)); err == nil && !info.IsDir() {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// getenv returns an environment variable of the go command.
func (l *Loader) getenv(key string) string {
	if l.config.Env == nil {
		return os.Getenv(key)
	}
	for _, kv := range slices.Backward(l.config.Env) {
		if value, ok := strings.CutPrefix(kv, key+"="); ok && value != "" {
			return value
		}
	}
	return ""
}
