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

// Unchanged reports whether all that the manifest lists is as it was; now is the present time, taken before the call. It
// learns the stamps of files whose content it had to look at; learned reports whether the manifest is worth saving again.
func (m *Manifest) Unchanged(now time.Time) (unchanged, learned bool) {
	var next atomic.Int64
	var changed, news atomic.Bool
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
					news.Store(true)
				}
			}
		})
	}
	workers.Wait()
	return !changed.Load(), news.Load()
}

// sameDirectory compares a directory with what is on disk.
func (r rules) sameDirectory(f *directory, now time.Time) (same, learned bool) {
	names, err := r.names(f.path)
	alike := func(a, b entry) bool { return a.name == b.name && a.kind == b.kind }
	if err != nil || !slices.EqualFunc(f.entries, names, alike) {
		return false, false
	}
	return sameEntries(f.path, f.entries, now)
}

// names lists what matters in a directory, without stamps and sums.
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

// sameEntries compares entries of a directory with what is on disk. Of those in a directory listed by names, only contents are
// left to compare.
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
		switch same, news := e.sameOnDisk(path, now); {
		case !same:
			return false, learned
		case news:
			learned = true
		}
	}
	return true, learned
}

// sameOnDisk compares one entry with what is on disk.
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
