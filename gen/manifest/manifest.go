// Package manifest detects that nothing has changed since an earlier run of the generator, without starting a process.
//
// A [Manifest] lists the inputs of a run. It has directories with their names, so that new files are detected. For each
// file whose content matters, it has a stamp (size, times, inode) and the hash of the content. A manifest is found by
// its [Key], which depends on the arguments of the run, the environment of the go command, and the build of the tool.
//
//	key, err := manifest.KeyOf(question)          // an error: don't use manifests in this environment
//	m := store.Load(key)                          // nil if there is no valid manifest
//	m.Unchanged(time.Now())                       // true: the result of the run is the same
//	m, err = manifest.Take(start, inputs, old)    // after a full run; an error: don't save a manifest
//	store.Save(key, m)
//
// # Correctness
//
// Take is called after a run that began at start. It fails if a listed file was changed after start, or so shortly
// before that the clock of the file system can't tell. So the manifest describes the files that the run has read. Each
// stamp is older than the run, so any later change gives the file another stamp: on Unix, the system sets ctime, which
// programs can't set. Without ctime, and for files without a known stamp, Unchanged reads and hashes the content.
//
// Two cases are not detected. The first is a change that keeps the size and restores the mtime, on a file system
// without its own ctime (FAT, some network file systems). The second is a change on a file server whose clock lags by
// more than the time between the change and the run.
//
// Manifests are only a cache in a directory of the user. Their number, size and age are limited, and they are replaced
// atomically. If one is missing, damaged, has another version or can't be accessed, the generator does a full run.
package manifest

import (
	"cmp"
	"crypto/sha256"
	"time"
)

// A Sum is the SHA-256 of some content.
type Sum [sha256.Size]byte

// SumOf hashes content.
func SumOf(content []byte) Sum { return sha256.Sum256(content) }

// A Manifest lists the inputs of a run and some of its results. It is not safe for concurrent use.
type Manifest struct {
	// Annotated reports whether there were annotated packages.
	Annotated bool
	// Emitted has the hashes of generated files by name, by the hash of the intermediate representation.
	Emitted map[Sum]map[string]Sum

	directories []directory // by path
	paths       []entry     // by name, an absolute path
	rules       rules
}

// A directory lists the relevant entries of a directory.
type directory struct {
	path    string
	entries []entry // by name
}

// An entry is a file, a directory or a missing file.
type entry struct {
	name  string
	kind  kind
	stamp stamp // of a file; zero if its content must be read
	sum   Sum   // of a file
}

// A kind determines how an entry is compared.
type kind uint8

const (
	absent  kind = iota // it must not exist
	present             // it must exist; its content doesn't matter
	file                // its content matters
	kinds
)

// margin is the maximum lag of a file's times behind the clock. Kernels use the time of the last tick, and some file
// systems store whole seconds.
func margin(s stamp) time.Duration {
	if s.newest()%int64(time.Second) == 0 {
		return 2 * time.Second
	}
	return 20 * time.Millisecond
}

// before reports whether a file has certainly not been changed since t.
func (s stamp) before(t time.Time) bool {
	return s.newest() < t.Add(-margin(s)).UnixNano()
}

// newest returns the time of the last change. It uses mtime, which any process can set, only if there is no ctime.
func (s stamp) newest() int64 { return cmp.Or(s.ctime, s.mtime) }
