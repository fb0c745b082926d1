// Package manifest remembers what a run of the generator has read and found in order, so that the next one can tell
// without starting a process that nothing has changed.
//
// A Manifest lists all that the outcome of a run depends on: directories with the names in them, so that a new file is
// seen, and for each file whose content matters its stamp (size, times, inode) and the hash of its content. What is not
// in files is in the Key, which a manifest is found by: where and what for the run was asked, the environment of the go
// command, and which build of the tool it was.
//
//	key, err := manifest.KeyOf(question)          // an error means: not in this environment
//	m := store.Load(key)                          // nil if there is none, or none that can be read
//	m.Unchanged(time.Now())                       // true: the outcome is what it was
//	m, err = manifest.Take(start, inputs, old)    // after a whole run; an error means: not this time
//	store.Save(key, m)
//
// # Why it can be trusted
//
// Take is called after a run that began at start, and refuses if anything it lists has been changed since then, or so
// shortly before that the clock of the file system can't distinguish. So what it lists is what the run has read. And since each
// stamp is older than the run, any later change gives a file another stamp: on Unix the system sets ctime, which nothing
// can set back. Where there is no such time, or where a stamp is not known (of files just written), Unchanged reads and
// hashes the content.
//
// What remains: a file system without a ctime of its own (FAT, some network mounts) whose mtime is set back after an edit
// that keeps the size, and clocks of file servers that are behind by more than the time between an edit and the run.
//
// Manifests are a cache, in a directory of the user's: bounded in number, size and age, replaced atomically, and whatever is
// wrong with one (missing, cut off, of another version, no permission) only means a whole run.
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

// A Manifest is what one run has read, and what it has found out that the next may use. It is not safe for concurrent
// use.
type Manifest struct {
	// Annotated reports whether there were annotated packages at all.
	Annotated bool
	// Emitted has the sum of each file that was made of an intermediate representation, by that one's sum.
	Emitted map[Sum]map[string]Sum

	directories []directory // by path
	paths       []entry     // by name, an absolute path
	rules       rules
}

// A directory is what there is in one, as far as it matters.
type directory struct {
	path    string
	entries []entry // by name
}

// An entry is a file, a directory or nothing of a name.
type entry struct {
	name  string
	kind  kind
	stamp stamp // of a file; zero where its content has to be looked at
	sum   Sum   // of a file
}

// A kind is what an entry is, and so how it is compared.
type kind uint8

const (
	absent  kind = iota // it must not be there
	present             // it must be there; its content doesn't matter
	file                // its content matters
	kinds
)

// margin is how far behind the clock a file's times may be: kernels stamp with the time of the last tick, and some file
// systems by whole seconds.
func margin(s stamp) time.Duration {
	if s.newest()%int64(time.Second) == 0 {
		return 2 * time.Second
	}
	return 20 * time.Millisecond
}

// before reports whether a file has surely not been changed since a point in time.
func (s stamp) before(t time.Time) bool {
	return s.newest() < t.Add(-margin(s)).UnixNano()
}

// newest is when the file was last changed: mtime, which any process can set, only counts if there is no ctime.
func (s stamp) newest() int64 { return cmp.Or(s.ctime, s.mtime) }
