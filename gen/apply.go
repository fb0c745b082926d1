package gen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/afgen/afgen/gen/emit"
)

// Apply makes the changes. All new content is on disk before the first file is replaced, and each is replaced
// atomically, so that an error (a full disk, a folder that can't be written) leaves whole files and, mostly, the old
// ones. Running it again is safe.
func (p *Plan) Apply() error {
	if len(p.Diagnostics) > 0 {
		return errors.New("nothing is written while there are diagnostics")
	}
	temps := map[string]string{}
	defer func() {
		for _, t := range temps {
			os.Remove(t) // gone already unless something failed
		}
	}()
	for _, c := range p.Changes {
		if c.New == nil {
			continue
		}
		temp, err := writeTemp(c)
		if err != nil {
			return fmt.Errorf("writing %s: %w", c.Path, err)
		}
		temps[c.Path] = temp
	}
	for _, c := range p.Changes {
		if c.New == nil {
			if err := os.Remove(c.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("removing what no annotation asks for any more: %w", err)
			}
			continue
		}
		if err := os.Rename(temps[c.Path], c.Path); err != nil {
			return err
		}
		delete(temps, c.Path)
	}
	p.memory.applied(p.Changes)
	return nil
}

// writeTemp writes the new content beside the file, under a name that the go command ignores, and with its mode.
func writeTemp(c Change) (name string, err error) {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(c.Path); err == nil {
		mode = info.Mode().Perm()
	}
	if emit.Origin(c.New) != "" { // a client package may be new
		if err := os.MkdirAll(filepath.Dir(c.Path), 0o755); err != nil {
			return "", err
		}
	}
	f, err := os.CreateTemp(filepath.Dir(c.Path), "."+filepath.Base(c.Path)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(c.New)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err != nil {
		os.Remove(f.Name()) // err is the reason
		return "", err
	}
	return f.Name(), nil
}
