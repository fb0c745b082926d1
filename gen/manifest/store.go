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

// A Store is a directory of manifests. Several processes may use it at the same time.
type Store string

// What a Store holds at most, in addition to what is being saved.
const (
	maxSize  = 16 << 20 // of one manifest
	maxTotal = 64 << 20
	maxCount = 256
	maxAge   = 30 * 24 * time.Hour
)

// DefaultStore is the user's: what AFGEN_CACHE names, or afgen/manifests in the system's place for caches. The empty Store,
// which holds nothing, where AFGEN_CACHE is off or there is no such place.
func DefaultStore() Store {
	switch dir := os.Getenv("AFGEN_CACHE"); {
	case dir == "off":
		return ""
	case filepath.IsAbs(dir):
		return Store(dir)
	case dir != "":
		return "" // relative to what?
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return Store(filepath.Join(dir, "afgen", "manifests"))
}

const suffix = ".manifest"

func (s Store) path(k Key) string { return filepath.Join(string(s), string(k)+suffix) }

// Load returns the manifest of a key, or nil.
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

// Save keeps a manifest in place of the key's earlier one. Its error is of no consequence but that the next run will be
// a whole one.
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
	defer os.Remove(f.Name()) // gone already unless something failed
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

// evict removes what is old or too much, the oldest first.
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
		left := strings.HasSuffix(info.Name(), ".tmp") && age > time.Hour // by a process that was killed
		if total > maxTotal || count > maxCount || age > maxAge || left {
			os.Remove(filepath.Join(string(s), info.Name())) // or another run does
		}
	}
}
