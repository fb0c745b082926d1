package scan

import (
	"cmp"
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
func (r *Result) Inside(dir string) (root, rel string, err error) {
	return r.loader.within(links{}, dir)
}

// inside is the same, by what was read of links before.
func (w *loader) inside(dir string) (root, rel string, err error) { return w.within(w.links, dir) }

func (w *loader) within(l links, dir string) (root, rel string, err error) {
	if w.modules == nil {
		w.modules = w.findModules()
	}
	real, err := l.follow(dir)
	if err != nil {
		return "", "", err
	}
	in := ""
	for _, m := range w.modules {
		if below(m.dir, dir) && len(m.dir) > len(in) {
			in = m.dir
		}
	}
	if in == "" { // the go command may know the module by another path
		if in = w.findUp("go.mod"); in == "" || !below(in, dir) {
			return real, ".", nil
		}
	}
	if root, err = l.follow(in); err != nil {
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

// below reports whether a directory is another or in it, as the paths are written.
func below(root, dir string) bool {
	rel, err := filepath.Rel(root, dir)
	return err == nil && filepath.IsLocal(rel)
}

// links remembers where paths lead.
type links map[string]string

// follow returns a path with symbolic links followed, as far as it exists.
func (l links) follow(path string) (string, error) {
	parent := filepath.Dir(path)
	if real, ok := l[path]; ok || path == parent {
		return cmp.Or(real, path), nil
	}
	real := ""
	switch info, err := os.Lstat(path); {
	case err == nil && info.Mode()&fs.ModeSymlink != 0:
		if real, err = filepath.EvalSymlinks(path); errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%s is a symbolic link to what doesn't exist", path)
		} else if err != nil {
			return "", err
		}
	case err == nil || errors.Is(err, fs.ErrNotExist):
		if real, err = l.follow(parent); err != nil {
			return "", err
		}
		real = filepath.Join(real, filepath.Base(path))
	default:
		return "", err
	}
	l[path] = real
	return real, nil
}

// checkInside reports a package whose directory is outside the module: its files would be written there.
func (w *loader) checkInside(u *unit) {
	if _, _, err := w.inside(u.pkg.Dir); err != nil {
		w.problem(u.types[0], diag.OutsideModule, fmt.Sprintf("nothing is written to %s: %v", relative(w.config.Dir, u.pkg.Dir), err),
			"run afgen in the module that the directory is in, or move the directory into this one")
	}
}
