package logs

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/safepath"
)

// othersWrite is the write permission of other users.
const othersWrite fs.FileMode = 0o002

// checkDir returns an error if another user can redirect the directory. shared reports whether every user can create
// files in it.
func checkDir(dir string, console *slog.Logger) (shared bool, err error) {
	path, err := filepath.Abs(filepath.Join(dir, "x"))
	if err != nil {
		return false, explain("make", dir, err)
	}
	_, findings, err := safepath.Walk(path, os.Geteuid())
	if err != nil {
		return false, explain("open", dir, err)
	}
	for _, f := range findings {
		switch {
		case f.Kind == safepath.Planted:
			return false, backend.Errorf(backend.ErrPermissionDenied, "can't use the log %s (logger.path): %s is not safe to "+
				"follow: %s: remove it, or choose another directory", dir, f.Path, f.Why)
		case f.Kind == safepath.Parent && !f.Root:
			shared = true
			console.Warn("another user can replace log files, use another directory (logger.path)",
				"directory", f.Path, "why", f.Why)
		case f.Kind == safepath.Shared:
			shared = true
		}
	}
	return shared, nil
}

// openSafely opens a file for appending. It does not follow links of other users, which could lead to any file of the
// program's user. In a shared directory it does not write to files of other users, who could read the log.
func openSafely(path string, shared bool) (writer, error) {
	link, err := os.Lstat(path)
	if err == nil && link.Mode()&fs.ModeSymlink != 0 {
		if owner, mine := safepath.Owner(link, os.Geteuid()); !mine && owner != "" {
			err := errors.New("it is a link created by " + owner + ": remove it")
			return nil, &fs.PathError{Op: "follow", Path: path, Err: err}
		}
		link = nil // it may be followed
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if link != nil || err != nil {
		flags |= noFollow
	}
	out, err := os.OpenFile(path, flags, 0o640)
	if err != nil {
		return nil, err
	}
	info, err := out.Stat()
	if err == nil {
		owner, mine := safepath.Owner(info, os.Geteuid())
		switch {
		case shared && !mine && owner != "":
			err = &fs.PathError{Op: "write to", Path: path, Err: errors.New("it belongs to " + owner +
				", in a directory where every user can create files: remove it, or choose another directory")}
		case private && mine && info.Mode().IsRegular() && info.Mode()&othersWrite != 0:
			err = out.Chmod(info.Mode().Perm() &^ othersWrite)
		}
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}
