package embedded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/oserror"
)

// A place is where a file and what belongs to it are.
type place struct {
	file string // absolute
	run  string // the folder of locks and sockets
}

// settle checks where the file is to be and creates it, with its folders, for this user alone. It never opens a file that
// is there: closing it would drop the locks that SQLite holds on it in this process.
func settle(path string, o options) (place, error) {
	if path == "" {
		return place{}, refusal("embedded.File: the path is empty")
	}
	file, err := filepath.Abs(path)
	if err != nil {
		return place{}, backend.Errorf(backend.ErrInvalidArgument, "the path %q: %w", path, err)
	}
	// A link to the file is the file. Beside each name there would be a -run folder of its own, and who has opened the one
	// would be dead to those who have opened the other.
	if info, err := os.Lstat(file); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if file, err = filepath.EvalSymlinks(file); err != nil {
			return place{}, cannot("follow the link", err)
		}
	}
	p := place{file: file, run: file + "-run"}
	for _, folder := range []string{filepath.Dir(file), p.run} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return place{}, cannot("create the folder", err)
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
	return p, p.ours(o.euid)
}

// ours refuses what is no plain file of this user's.
func (p place) ours(euid int) error {
	for _, path := range []string{p.file, p.run} {
		info, err := os.Stat(path)
		if err != nil {
			return cannot("look at the file", err)
		}
		if path == p.file && !info.Mode().IsRegular() {
			return backend.Errorf(backend.ErrInvalidArgument, "%s is no regular file: choose another path", path)
		}
		if owner, mine := ownedBy(info, euid); !mine {
			return backend.Errorf(backend.ErrPermissionDenied, "%s belongs to %s: run as that user, or choose another path", path, owner)
		}
	}
	return nil
}

func cannot(do string, err error) error {
	return backend.Errorf(oserror.Code(err, backend.ErrUnavailable), "can't %s: %w%s", do, err, oserror.Remedy(err)).
		With(backend.OutcomeNotSent)
}
