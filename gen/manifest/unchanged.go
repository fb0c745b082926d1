package manifest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Unchanged reports whether all listed files are unchanged. now is the time before the call. Unchanged adds the stamps
// of files whose content it had to read. learned reports whether it did, so that the manifest should be saved again.
func (m *Manifest) Unchanged(now time.Time) (unchanged, learned bool) {
	var next atomic.Int64
	var changed, updated atomic.Bool
	var workers sync.WaitGroup
	n := int64(len(m.directories))
	for range min(runtime.GOMAXPROCS(0), 8) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i <= n && !changed.Load(); i = next.Add(1) - 1 {
				same, learned := false, false
				if i == n {
					same, learned = sameEntries("", m.paths, now)
				} else {
					same, learned = m.rules.sameDirectory(&m.directories[i], now)
				}
				if !same {
					changed.Store(true)
				}
				if learned {
					updated.Store(true)
				}
			}
		})
	}
	workers.Wait()
	return !changed.Load(), updated.Load()
}

// sameDirectory compares a directory with the disk.
func (r rules) sameDirectory(f *directory, now time.Time) (same, learned bool) {
	names, err := r.names(f.path)
	alike := func(a, b entry) bool { return a.name == b.name && a.kind == b.kind }
	if err != nil || !slices.EqualFunc(f.entries, names, alike) {
		return false, false
	}
	return sameEntries(f.path, f.entries, now)
}

// names returns the relevant entries of a directory without stamps and hashes.
func (r rules) names(dir string) ([]entry, error) {
	all, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []entry
	for _, e := range all {
		if k := r.kindOf(e); k != absent {
			out = append(out, entry{name: e.Name(), kind: k})
		}
	}
	return out, nil
}

// sameEntries compares entries with the disk. If dir isn't "", the names in it have been compared, so only contents of
// files are compared.
func sameEntries(dir string, entries []entry, now time.Time) (same, learned bool) {
	for i := range entries {
		e := &entries[i]
		path := e.name
		if dir != "" {
			if e.kind != file {
				continue
			}
			path = dir + string(filepath.Separator) + e.name
		}
		switch same, updated := e.sameOnDisk(path, now); {
		case !same:
			return false, learned
		case updated:
			learned = true
		}
	}
	return true, learned
}

// sameOnDisk compares an entry with the disk.
func (e *entry) sameOnDisk(path string, now time.Time) (same, learned bool) {
	info, err := os.Stat(path)
	switch {
	case e.kind == absent:
		return errors.Is(err, fs.ErrNotExist), false
	case err != nil:
		return false, false
	case e.kind == present:
		return info.IsDir(), false
	}
	if s := stampOf(info); s != (stamp{}) && s == e.stamp {
		return true, false
	}
	sum, info, err := hash(path)
	if err != nil || sum != e.sum {
		return false, false
	}
	if s := stampOf(info); s != e.stamp && s.before(now) {
		e.stamp = s
		return true, true
	}
	return true, false
}
