package manifest

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Store is a directory of manifests. Several processes may use it concurrently. The empty Store stores nothing.
type Store string

// Limits of a Store, not counting the manifest being saved.
const (
	maxSize  = 16 << 20 // of one manifest
	maxTotal = 64 << 20
	maxCount = 256
	maxAge   = 30 * 24 * time.Hour
)

// DefaultStore returns the store of the user: $AFGEN_CACHE, or afgen/manifests in [os.UserCacheDir]. It returns the
// empty Store if AFGEN_CACHE is "off" or relative, or if there is no cache directory.
func DefaultStore() Store {
	switch dir := os.Getenv("AFGEN_CACHE"); {
	case dir == "off":
		return ""
	case filepath.IsAbs(dir):
		return Store(dir)
	case dir != "":
		return "" // relative
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return Store(filepath.Join(dir, "afgen", "manifests"))
}

const suffix = ".manifest"

func (s Store) path(k Key) string { return filepath.Join(string(s), string(k)+suffix) }

// Load returns the manifest with that key, or nil.
func (s Store) Load(k Key) *Manifest {
	if s == "" {
		return nil
	}
	info, err := os.Stat(s.path(k))
	if err != nil || info.Size() > maxSize || !info.Mode().IsRegular() {
		return nil
	}
	data, err := os.ReadFile(s.path(k))
	if err != nil {
		return nil
	}
	m, err := decode(k, data)
	if err != nil {
		return nil
	}
	return m
}

// Save replaces the manifest with that key. Callers may ignore the error; the next run is then a full run.
func (s Store) Save(k Key, m *Manifest) error {
	if s == "" {
		return nil
	}
	data := m.encode(k)
	if len(data) > maxSize {
		return os.Remove(s.path(k))
	}
	if err := os.MkdirAll(string(s), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(string(s), "*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // left only after an error
	_, err = f.Write(data)
	if err := cmp.Or(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), s.path(k)); err != nil {
		return err
	}
	s.evict(time.Now())
	return nil
}

// evict removes manifests that are too old, and the oldest ones if there are too many.
func (s Store) evict(now time.Time) {
	entries, err := os.ReadDir(string(s))
	if err != nil {
		return
	}
	var infos []fs.FileInfo
	for _, e := range entries {
		ours := strings.HasSuffix(e.Name(), suffix) || strings.HasSuffix(e.Name(), ".tmp")
		if info, err := e.Info(); ours && err == nil && info.Mode().IsRegular() {
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	total, count := int64(0), 0
	for _, info := range infos {
		total, count = total+info.Size(), count+1
		age := now.Sub(info.ModTime())
		left := strings.HasSuffix(info.Name(), ".tmp") && age > time.Hour // left by a killed process
		if total > maxTotal || count > maxCount || age > maxAge || left {
			os.Remove(filepath.Join(string(s), info.Name())) // another run may do the same
		}
	}
}
