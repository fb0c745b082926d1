package scan

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/scan/internal/load"
	"golang.org/x/tools/go/packages"
)

// Inputs are the files that the result of a scan depends on: the Go files in Dirs, and the files and directories at
// Paths, existing or not. The result also depends on the environment and on files such as go.mod. The standard library
// and the module cache are considered fixed.
type Inputs struct {
	// Unknown is the reason why Inputs is incomplete, or "".
	Unknown string
	// Dirs are the directories that were searched or that contain listed packages, sorted. Modules are the roots of the
	// modules of those packages.
	Dirs    []string
	Modules []string
	// Paths determine the modules of directories.
	Paths []string
	// GOROOT is the directory of the Go installation, or "" if no package was listed.
	GOROOT string
}

// inputs returns the inputs of the scan.
func (sc *scanner) inputs(f *found, clients []Client) Inputs {
	in := &inputs{dirs: map[string]bool{}, modules: map[string]*packages.Module{}, paths: map[string]bool{}}
	if len(f.rest) > 0 {
		in.unknown = "patterns that are no directories" // only the go command knows which directories it has searched
	}
	for dir := range f.searched {
		in.dirs[dir] = true
	}
	for _, c := range clients {
		in.dirs[c.Dir] = true
	}
	for _, mod := range f.modules {
		in.paths[mod] = true
	}
	if u := sc.Unit("context"); u != nil {
		in.goroot = strings.TrimSuffix(load.DirOf(u.Pkg), filepath.FromSlash("/src/context"))
	}
	for u := range sc.Units() {
		in.add(u.Pkg)
	}
	for u := range sc.Units() {
		in.addAmbiguous(u.Pkg)
	}
	for dir := range in.dirs { // the module of a directory is the nearest go.mod above
		for dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			if in.dirs[dir] || in.paths[filepath.Join(dir, "go.mod")] {
				break // another directory adds the rest
			}
			in.paths[filepath.Join(dir, "go.mod")] = true
		}
	}
	return Inputs{
		Unknown: in.unknown, GOROOT: in.goroot, Dirs: slices.Sorted(maps.Keys(in.dirs)),
		Modules: slices.Sorted(maps.Keys(in.modules)), Paths: slices.Sorted(maps.Keys(in.paths)),
	}
}

type inputs struct {
	unknown string
	goroot  string
	dirs    map[string]bool
	modules map[string]*packages.Module // those whose files may change, by directory
	paths   map[string]bool
}

// add records the directory of a package.
func (in *inputs) add(p *packages.Package) {
	dir := load.DirOf(p)
	switch m := p.Module; {
	case p.PkgPath == "unsafe" || p.PkgPath == "C":
	case dir == "":
		in.unknown = "package " + p.PkgPath + " has no directory" // where it may appear is unknown
	case m == nil:
		if in.goroot == "" || !strings.HasPrefix(dir, filepath.Join(in.goroot, "src")+string(filepath.Separator)) {
			in.unknown = "package " + p.PkgPath + " has no module"
		}
	case !fixed(m):
		in.dirs[dir] = true
		if root := rootOf(m); root != "" {
			in.modules[root] = m
		}
	}
}

// fixed reports whether a module is in the module cache, whose content never changes.
func fixed(m *packages.Module) bool {
	if m.Replace != nil {
		m = m.Replace
	}
	return m.Version != "" && strings.HasSuffix(filepath.ToSlash(m.Dir), "@"+m.Version)
}

func rootOf(m *packages.Module) string {
	if m.Dir != "" {
		return m.Dir
	}
	if m.GoMod != "" {
		return filepath.Dir(m.GoMod)
	}
	return "" // vendored
}

// addAmbiguous records the directories of other modules that would make a package ambiguous if they existed.
func (in *inputs) addAmbiguous(p *packages.Package) {
	if p.Module == nil {
		return
	}
	for root, m := range in.modules {
		rest, ok := strings.CutPrefix(p.PkgPath, m.Path+"/")
		if ok && m.Path != p.Module.Path {
			in.paths[filepath.Join(root, filepath.FromSlash(rest))] = true
		}
	}
}
