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

// paths is the location of a file and of its directory of locks and sockets.
type paths struct {
	file string // absolute
	run  string // the directory of locks and sockets
}

// preparePaths checks where the file is or will be, and creates it and its directories with access for this user only.
// It never opens an existing file: closing it would release the locks that SQLite holds on it in this process.
func preparePaths(path string, o options) (paths, error) {
	if path == "" {
		return paths{}, refusal("embedded.File: empty path")
	}
	file, err := filepath.Abs(path)
	if err != nil {
		return paths{}, backend.Errorf(backend.ErrInvalidArgument, "path %q: %w", path, err)
	}
	// Resolve links to the file. Otherwise each name would have its own -run directory, and processes that opened the file
	// by different names would consider each other dead.
	if info, err := os.Lstat(file); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if _, err := os.Stat(file); err != nil { // dangling link
			return paths{}, pathError("follow the link", err)
		}
	}
	file, findings, err := safepath.Walk(file, o.euid)
	if err != nil {
		return paths{}, pathError("follow the path", err)
	}
	if err := o.checkFindings(file, findings); err != nil {
		return paths{}, err
	}
	p := paths{file: file, run: file + "-run"}
	for _, dir := range []string{filepath.Dir(file), p.run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return paths{}, creationError("create the directory", err)
		}
	}
	if err := o.checkLocal(p.run, file); err != nil {
		return paths{}, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		err = f.Close()
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return paths{}, creationError("create the file", err)
	}
	return p, p.checkFiles(o)
}

// checkLocal returns an error if the directory of a file is on a network file system.
func (o options) checkLocal(dir, file string) error {
	if kind, err := o.fileSystem(dir); err != nil {
		return pathError("look at the file system", err)
	} else if kind != "" {
		return backend.Errorf(backend.ErrFailedPrecondition,
			"%s is on a network file system (%s), where locks and shared "+
				"memory are unreliable: choose a path on a local disk, or use the servers backend", file, kind)
	}
	return nil
}

// checkFindings returns an error if another user can redirect the path or replace the file. It logs findings that are
// dangerous only if that user is hostile.
func (o options) checkFindings(file string, findings []safepath.Finding) error {
	for _, f := range findings {
		switch {
		case f.Kind == safepath.Planted:
			return backend.Errorf(backend.ErrPermissionDenied, "%s is not safe: %s: remove it, or choose another path", f.Path,
				f.Why)
		case f.Kind == safepath.Parent && !f.Root:
			return backend.Errorf(backend.ErrPermissionDenied,
				"directory %s is not safe, another user can replace the file: %s: choose a path in "+
					"a new directory, such as %s, which is created with mode 0700, or change owner and mode (chown, chmod o-w)",
				f.Path, f.Why, filepath.Join(f.Path, "af", filepath.Base(file)))
		case f.Kind == safepath.Shared:
			o.warn("other users can create files next to the database, choose a path in a new directory", "directory", f.Path,
				"why", f.Why)
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

// sidecars are the suffixes of SQLite's files next to the database. SQLite writes the content of some of them to the
// database.
var sidecars = []string{"-wal", "-shm", "-journal"}

// checkFiles returns an error if one of the files is not a regular file of this user or is writable by all users.
func (p paths) checkFiles(o options) error {
	for _, path := range append([]string{p.file, p.run}, p.sidecars()...) {
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != p.file && (path != p.run || o.observer):
			continue
		case err != nil:
			return pathError("look at the file", err)
		case path == p.run && !info.IsDir():
			return backend.Errorf(backend.ErrInvalidArgument, "%s is not a directory: remove it, or choose another path", path)
		case path != p.run && !info.Mode().IsRegular():
			return backend.Errorf(backend.ErrInvalidArgument, "%s is not a regular file: choose another path", path)
		}
		if owner, mine := ownedBy(info, o.euid); !mine {
			return backend.Errorf(backend.ErrPermissionDenied, "%s belongs to %s: run as that user, or choose another path",
				path, owner)
		}
		mode := modeOf(info)
		switch {
		case mode&0o002 != 0:
			return backend.Errorf(backend.ErrPermissionDenied,
				"%s is writable by all users (mode %04o): check its content, then run chmod go= %s",
				path, mode, path)
		case mode&0o077 != 0 && path == p.file:
			o.warn("other users can read or write the database, run chmod go=", "file", path, "mode", fmt.Sprintf("%04o", mode))
		}
		if n := links(info); n > 1 && path == p.file {
			o.warn("the database has hard links, opening it by another name corrupts it", "file", path, "names", n)
		}
	}
	return nil
}

func (p paths) sidecars() (all []string) {
	for _, suffix := range sidecars {
		all = append(all, p.file+suffix)
	}
	return all
}

// creationError is pathError for a file or a directory that can't be created, with the remedy of another path.
func creationError(do string, err error) error {
	e := pathError(do, err)
	if e.Code != backend.ErrResourceExhausted {
		e.Message += "; set embedded.path, or the argument of embedded.File, to a path in a directory that can be written"
	}
	return e
}

func pathError(do string, err error) *backend.Error {
	return backend.Errorf(oserror.Code(err, backend.ErrUnavailable), "can't %s: %w%s", do, err, oserror.Remedy(err)).
		With(backend.OutcomeNotSent)
}
