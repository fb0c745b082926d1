package scan

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/scan/internal/load"
	"golang.org/x/tools/go/packages"
)

// Inputs is what the result of a scan depends on, apart from the environment and what the files of modules say (go.mod and
// the like): the Go files in Dirs, and what there is and isn't at Paths. The standard library and the module cache
// are considered fixed.
type Inputs struct {
	// Unknown is why the rest is not all of it; "" if it is.
	Unknown string
	// Dirs were searched, or hold packages that were listed; sorted. Modules are the roots of the latter's modules.
	Dirs    []string
	Modules []string
	// Paths are looked at by the go command in order to know which module a directory belongs to.
	Paths []string
	// GOROOT is where the standard library was found; "" if nothing was listed.
	GOROOT string
}

// inputs returns what the scan depended on.
func (sc *scanner) inputs(f *found, clients []Client) Inputs {
	in := &inputs{dirs: map[string]bool{}, modules: map[string]*packages.Module{}, paths: map[string]bool{}}
	if len(f.rest) > 0 {
		in.unknown = "patterns that name no folders" // the go command alone knows where it has looked for such packages
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
	for dir := range in.dirs { // of which module a directory is: of the next go.mod above it
		for dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			if in.dirs[dir] || in.paths[filepath.Join(dir, "go.mod")] {
				break // the rest of the way is another's
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
	modules map[string]*packages.Module // by directory: those whose files may change
	paths   map[string]bool
}

// add notes where a package was found.
func (in *inputs) add(p *packages.Package) {
	dir := load.DirOf(p)
	switch m := p.Module; {
	case p.PkgPath == "unsafe" || p.PkgPath == "C":
	case dir == "":
		in.unknown = "no folder of package " + p.PkgPath // and if it appears, its place is unknown
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

// addAmbiguous notes the directories of other modules that would hold a package if they were there: it would be ambiguous then.
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
