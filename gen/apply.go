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

// Apply writes and removes files according to [Plan.Changes]. It fails if there are diagnostics. It writes all new
// content to temporary files first and then renames them, so an error such as a full disk leaves complete files,
// usually the old ones. It doesn't follow symbolic links out of the modules. Apply may be called again.
func (p *Plan) Apply() error {
	if len(p.Diagnostics) > 0 {
		return errors.New("nothing is written, because there are diagnostics")
	}
	places, done, err := p.targets()
	defer done()
	if err != nil {
		return err
	}
	temps := map[string]target{}
	defer func() {
		for _, t := range temps {
			_ = t.root.Remove(t.name) // left only after an error
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
				return fmt.Errorf("removing an orphaned file: %w", err)
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

// A target is a file to write in a module.
type target struct {
	root *os.Root // of the module
	name string   // in root
}

// targets opens the modules of the changes and returns the targets by path. The caller must call the returned function
// to close the modules.
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

// writeTemp writes the new content to a temporary file next to the target, with its mode. The go command ignores the
// name.
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
