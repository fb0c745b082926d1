package gen

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/afgen/afgen/gen/emit"
)

// Apply makes the changes. All new content is on disk before the first file is replaced, and each is replaced
// atomically, so that an error (a full disk, a directory that can't be written) leaves whole files and, mostly, the old
// ones. It writes and removes nothing outside the modules, whatever symbolic links there are. Running it again is safe.
func (p *Plan) Apply() error {
	if len(p.Diagnostics) > 0 {
		return errors.New("nothing is written while there are diagnostics")
	}
	places, done, err := p.targets()
	defer done()
	if err != nil {
		return err
	}
	temps := map[string]target{}
	defer func() {
		for _, t := range temps {
			_ = t.root.Remove(t.name) // there only if something failed
		}
	}()
	for _, c := range p.Changes {
		if c.New == nil {
			continue
		}
		temp, err := places[c.Path].writeTemp(c)
		if err != nil {
			return fmt.Errorf("writing %s: %w", c.Path, err)
		}
		temps[c.Path] = temp
	}
	for _, c := range p.Changes {
		at := places[c.Path]
		if c.New == nil {
			if err := at.root.Remove(at.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("removing what no annotation asks for any more: %w", err)
			}
			continue
		}
		if err := at.root.Rename(temps[c.Path].name, at.name); err != nil {
			return fmt.Errorf("writing %s: %w", c.Path, err)
		}
		delete(temps, c.Path)
	}
	p.session.save(p.Changes)
	return nil
}

// A target is where a file is written: in the directory of a module, which nothing leads out of.
type target struct {
	root *os.Root
	name string // in root
}

// targets opens the modules that the changes are in, and returns the target of each by its path. The function that it
// returns closes them.
func (p *Plan) targets() (map[string]target, func(), error) {
	roots, all := map[string]*os.Root{}, map[string]target{}
	done := func() {
		for _, r := range roots {
			_ = r.Close()
		}
	}
	for _, c := range p.Changes {
		dir, rel, err := p.scanned.Inside(filepath.Dir(c.Path))
		if err != nil {
			return nil, done, fmt.Errorf("writing %s: %w", c.Path, err)
		}
		if roots[dir] == nil {
			if roots[dir], err = os.OpenRoot(dir); err != nil {
				return nil, done, fmt.Errorf("writing %s: %w", c.Path, err)
			}
		}
		all[c.Path] = target{roots[dir], filepath.Join(rel, filepath.Base(c.Path))}
	}
	return all, done, nil
}

// writeTemp writes the new content next to the file, under a name that the go command ignores, and with its mode.
func (t target) writeTemp(c Change) (temp target, err error) {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(c.Path); err == nil {
		mode = info.Mode().Perm()
	}
	if emit.Origin(c.New) != "" { // a client package may be new
		if err := t.root.MkdirAll(filepath.Dir(t.name), 0o755); err != nil {
			return target{}, err
		}
	}
	temp = target{t.root, filepath.Join(filepath.Dir(t.name), "."+filepath.Base(t.name)+"."+rand.Text())}
	f, err := t.root.OpenFile(temp.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return target{}, err
	}
	_, err = f.Write(c.New)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err != nil {
		_ = t.root.Remove(temp.name) // err is the reason
		return target{}, err
	}
	return temp, nil
}
