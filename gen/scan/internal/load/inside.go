package load

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/afgen/afgen/gen/scan/internal/pattern"
)

// Inside resolves the symbolic links in the path of a directory, which need not exist. It returns the root directory of
// its module and its path relative to that. It fails if a link leads out of the module. If the module is unknown, root
// is the directory itself. links caches the links.
func (l *Loader) Inside(links Links, dir string) (root, rel string, err error) {
	if l.modules == nil {
		l.modules = l.findModules()
	}
	real, err := links.follow(dir)
	if err != nil {
		return "", "", err
	}
	in := ""
	for _, m := range l.modules {
		if below(m.dir, dir) && len(m.dir) > len(in) {
			in = m.dir
		}
	}
	if in == "" { // the go command may use another path of the module
		if in = l.findUp("go.mod"); in == "" || !below(in, dir) {
			return real, ".", nil
		}
	}
	if root, err = links.follow(in); err != nil {
		return "", "", err
	}
	rel, err = filepath.Rel(root, real)
	if err != nil || !filepath.IsLocal(rel) {
		return "", "", fmt.Errorf("a symbolic link leads out of the module to %s", real)
	}
	if lexical, err := filepath.Rel(in, dir); err == nil && lexical == rel {
		return root, rel, nil
	}
	for at := rel; at != "."; at = filepath.Dir(at) { // a link was followed
		if pattern.IsModule(filepath.Join(root, at)) {
			return "", "", fmt.Errorf("a symbolic link leads to another module at %s", real)
		}
	}
	return root, rel, nil
}

// below reports whether a directory is root or inside it, without resolving links.
func below(root, dir string) bool {
	rel, err := filepath.Rel(root, dir)
	return err == nil && filepath.IsLocal(rel)
}

// Links caches resolved paths.
type Links map[string]string

// follow resolves the symbolic links in a path, as far as it exists.
func (l Links) follow(path string) (string, error) {
	parent := filepath.Dir(path)
	if real, ok := l[path]; ok || path == parent {
		return cmp.Or(real, path), nil
	}
	real := ""
	switch info, err := os.Lstat(path); {
	case err == nil && info.Mode()&fs.ModeSymlink != 0:
		if real, err = filepath.EvalSymlinks(path); errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%s is a dangling symbolic link", path)
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
