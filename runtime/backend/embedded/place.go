package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/oserror"
	"github.com/afgen/afgen/runtime/internal/safepath"
)

// A place is where a file and what belongs to it are.
type place struct {
	file string // absolute
	run  string // the directory of locks and sockets
}

// settle checks where the file is, or will be, and creates it, with its directories, for this user alone. It never opens a file
// that exists: closing it would drop the locks that SQLite holds on it in this process.
func settle(path string, o options) (place, error) {
	if path == "" {
		return place{}, refusal("embedded.File: the path is empty")
	}
	file, err := filepath.Abs(path)
	if err != nil {
		return place{}, backend.Errorf(backend.ErrInvalidArgument, "the path %q: %w", path, err)
	}
	// A link to the file is the file. Next to each name there would be a -run directory of its own, and a process that has opened
	// one name would be dead to those that have opened the other.
	if info, err := os.Lstat(file); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if _, err := os.Stat(file); err != nil { // a link to nothing
			return place{}, cannot("follow the link", err)
		}
	}
	file, findings, err := safepath.Walk(file, o.euid)
	if err != nil {
		return place{}, cannot("follow the path", err)
	}
	if err := o.accept(file, findings); err != nil {
		return place{}, err
	}
	p := place{file: file, run: file + "-run"}
	for _, dir := range []string{filepath.Dir(file), p.run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return place{}, cannot("create the directory", err)
		}
	}
	if kind, err := o.fileSystem(p.run); err != nil {
		return place{}, cannot("look at the file system", err)
	} else if kind != "" {
		return place{}, backend.Errorf(backend.ErrFailedPrecondition, "%s is on a network file system (%s), where locks and shared "+
			"memory can't be relied on: choose a path on a local disk, or use the servers backend", file, kind)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		err = f.Close()
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return place{}, cannot("create the file", err)
	}
	return p, p.ours(o)
}

// accept refuses a path that another user can lead elsewhere, or to a file of its own. It logs what is safe only as long as
// that user means well.
func (o options) accept(file string, findings []safepath.Finding) error {
	for _, f := range findings {
		switch {
		case f.Kind == safepath.Planted:
			return backend.Errorf(backend.ErrPermissionDenied, "%s is not safe to follow: %s: remove it, or choose another path", f.Path, f.Why)
		case f.Kind == safepath.Parent && !f.Root:
			return backend.Errorf(backend.ErrPermissionDenied, "the directory %s is not safe, another user can replace the file: %s: choose a path "+
				"in a directory of its own, such as %s, which is created with mode 0700, or change owner and mode (chown, chmod o-w)",
				f.Path, f.Why, filepath.Join(f.Path, "af", filepath.Base(file)))
		case f.Kind == safepath.Shared:
			o.warn("other users can create files next to the database: choose a path in a directory of its own", "directory", f.Path, "why", f.Why)
		default:
			o.warn("another user can replace the database's directory", "directory", f.Path, "why", f.Why)
		}
	}
	return nil
}

func (o options) warn(message string, args ...any) {
	if o.log != nil {
		o.log.Warn(message, args...)
	}
}

// The names of what SQLite keeps next to the file. It writes to the file what it finds in some of them.
var sidecars = []string{"-wal", "-shm", "-journal"}

// ours refuses what is no plain file of this user's, or what every user may write.
func (p place) ours(o options) error {
	for _, path := range append([]string{p.file, p.run}, p.sidecars()...) {
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != p.file && path != p.run:
			continue
		case err != nil:
			return cannot("look at the file", err)
		case path == p.run && !info.IsDir():
			return backend.Errorf(backend.ErrInvalidArgument, "%s is no directory: remove it, or choose another path", path)
		case path != p.run && !info.Mode().IsRegular():
			return backend.Errorf(backend.ErrInvalidArgument, "%s is no regular file: choose another path", path)
		}
		if owner, mine := ownedBy(info, o.euid); !mine {
			return backend.Errorf(backend.ErrPermissionDenied, "%s belongs to %s: run as that user, or choose another path", path, owner)
		}
		mode := modeOf(info)
		switch {
		case mode&0o002 != 0:
			return backend.Errorf(backend.ErrPermissionDenied, "every user may write to %s (mode %04o): make sure that its content is yours, and "+
				"take that permission from it: chmod go= %s", path, mode, path)
		case mode&0o077 != 0 && path == p.file:
			o.warn("users other than the owner may read the database, or write to it: chmod go=", "file", path, "mode", fmt.Sprintf("%04o", mode))
		}
		if n := links(info); n > 1 && path == p.file {
			o.warn("the database has several names (hard links): opened by another one, it is corrupted", "file", path, "names", n)
		}
	}
	return nil
}

func (p place) sidecars() (all []string) {
	for _, suffix := range sidecars {
		all = append(all, p.file+suffix)
	}
	return all
}

func cannot(do string, err error) error {
	return backend.Errorf(oserror.Code(err, backend.ErrUnavailable), "can't %s: %w%s", do, err, oserror.Remedy(err)).
		With(backend.OutcomeNotSent)
}
