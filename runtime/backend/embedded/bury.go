package embedded

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// bury removes a dead peer and the files it has left.
func (r *registry) bury(ctx context.Context, p peer) {
	removed, err := r.remove(ctx, p.ID)
	if err != nil {
		r.log.Debug("a dead process is not removed yet", "peer", p.ID, "error", err)
		return
	}
	if removed {
		r.log.Info("a process has died", "peer", p.ID)
	}
	r.deaths.Set()
	r.discard(lockFile(r.run, p.ID))
	if p.Network == "unix" {
		r.discard(p.Addr)
	}
}

// tidy removes the files of the dead who are in the registry no more, or never came to be: they were killed while they
// opened the file, or their undertaker was. Nobody else may be opening the file.
func (r *registry) tidy(ctx context.Context) {
	v, err := r.current(ctx, 0)
	if err != nil {
		r.log.Debug("the peers can't be read", "error", err)
		return
	}
	files, err := os.ReadDir(r.run)
	if err != nil {
		r.log.Debug("the folder of locks can't be read", "error", err)
	}
	for _, f := range files {
		kind := filepath.Ext(f.Name())
		id := strings.TrimSuffix(f.Name(), kind)
		_, known := v.peers[id]
		if known || f.Name() == openLock || f.Name() == turnLock || kind != ".lock" && kind != ".sock" {
			continue
		}
		if _, err := os.Stat(lockFile(r.run, id)); errors.Is(err, os.ErrNotExist) || r.dead(id) {
			r.discard(filepath.Join(r.run, f.Name()))
		}
	}
}

// discard removes a file that a dead process has left.
func (r *registry) discard(file string) {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Debug("a dead process's file is left", "file", file, "error", err)
	}
}
