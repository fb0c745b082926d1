package embedded

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// removeDeadPeer removes a dead peer's rows and files.
func (r *registry) removeDeadPeer(ctx context.Context, p peer) {
	removed, err := r.removePeer(ctx, p.ID)
	if err != nil {
		r.log.Debug("cannot remove dead process yet", "peer", p.ID, "error", err)
		return
	}
	if removed {
		r.log.Info("process died", "peer", p.ID)
	}
	r.deaths.Set()
	r.removeFile(lockFile(r.run, p.ID))
	if p.Network == "unix" {
		r.removeFile(p.Addr)
	}
}

// removeStaleFiles removes the files of dead peers that are not in the registry: they were killed while they opened the
// file, or the process that removed them was killed. No other process may be opening the file.
func (r *registry) removeStaleFiles(ctx context.Context) {
	v, err := r.current(ctx, 0)
	if err != nil {
		r.log.Debug("cannot read the registry", "error", err)
		return
	}
	files, err := os.ReadDir(r.run)
	if err != nil {
		r.log.Debug("cannot read the directory of locks", "error", err)
	}
	for _, f := range files {
		kind := filepath.Ext(f.Name())
		id := strings.TrimSuffix(f.Name(), kind)
		_, known := v.peers[id]
		if known || f.Name() == openLock || f.Name() == writeLockFile || kind != ".lock" && kind != ".sock" {
			continue
		}
		if _, err := os.Stat(lockFile(r.run, id)); errors.Is(err, os.ErrNotExist) || r.isDead(id) {
			r.removeFile(filepath.Join(r.run, f.Name()))
		}
	}
}

// removeFile removes a dead peer's file.
func (r *registry) removeFile(file string) {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Debug("cannot remove file of dead process", "file", file, "error", err)
	}
}
