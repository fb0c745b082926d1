package scan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/afgen/afgen/gen/diag"
)

// Inside returns where a directory really is, symbolic links followed: the directory of its module, and its path in
// that. The directory need not exist. It fails if a link leads out of the module. For a directory of no module that is
// known, root is the directory itself.
func (r *Result) Inside(dir string) (root, rel string, err error) { return r.world.inside(dir) }

func (w *world) inside(dir string) (root, rel string, err error) {
	if w.modules == nil {
		w.modules = w.findModules()
	}
	real, err := followed(dir)
	if err != nil {
		return "", "", err
	}
	in := ""
	for _, m := range append(w.modules[:len(w.modules):len(w.modules)], moduleDir{"", w.above("go.mod")}) {
		if rel, err := filepath.Rel(m.dir, dir); m.dir != "" && err == nil && filepath.IsLocal(rel) && len(m.dir) > len(in) {
			in = m.dir
		}
	}
	if in == "" {
		return real, ".", nil
	}
	if root, err = followed(in); err != nil {
		return "", "", err
	}
	rel, err = filepath.Rel(root, real)
	if err != nil || !filepath.IsLocal(rel) {
		return "", "", fmt.Errorf("a symbolic link leads out of the module, to %s", real)
	}
	if lexical, err := filepath.Rel(in, dir); err == nil && lexical == rel {
		return root, rel, nil
	}
	for at := rel; at != "."; at = filepath.Dir(at) { // a link was followed
		if exists(filepath.Join(root, at, "go.mod")) {
			return "", "", fmt.Errorf("a symbolic link leads to another module, to %s", real)
		}
	}
	return root, rel, nil
}

// followed is a path with symbolic links followed, as far as it exists.
func followed(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is a symbolic link to what doesn't exist", path)
	}
	parent, err := followed(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// checkInside reports a package whose directory is outside the module: its files would be written there.
func (w *world) checkInside(u *unit) {
	if _, _, err := w.inside(u.pkg.Dir); err != nil {
		w.problem(u.types[0], diag.OutsideModule, fmt.Sprintf("nothing is written to %s: %v", relative(w.config.Dir, u.pkg.Dir), err),
			"run afgen in the module that the directory is in, or move the directory into this one")
	}
}
