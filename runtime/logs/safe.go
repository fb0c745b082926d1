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

// othersWrite is the permission of every user to write.
const othersWrite fs.FileMode = 0o002

// checkDir refuses a directory that another user leads elsewhere. shared reports whether every user can create files in it.
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
			return false, backend.Errorf(backend.ErrPermissionDenied, "can't use the log %s (logger.path): %s is not safe to follow: %s: "+
				"remove it, or choose another directory", dir, f.Path, f.Why)
		case f.Kind == safepath.Parent && !f.Root:
			shared = true
			console.Warn("another user can replace log files: use a directory of the program's own (logger.path)", "directory", f.Path, "why", f.Why)
		case f.Kind == safepath.Shared:
			shared = true
		}
	}
	return shared, nil
}

// openSafely opens a file to append to it. It follows no link of another user and, where every user can create files, writes to
// no file of another one: who planted it would read the log, or have it written to a file of the program's user.
func openSafely(path string, shared bool) (writer, error) {
	link, err := os.Lstat(path)
	if err == nil && link.Mode()&fs.ModeSymlink != 0 {
		if owner, mine := safepath.Owner(link, os.Geteuid()); !mine && owner != "" {
			return nil, &fs.PathError{Op: "follow", Path: path, Err: errors.New("it is a link that " + owner + " has made: remove it")}
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
			err = &fs.PathError{Op: "write to", Path: path, Err: errors.New("it belongs to " + owner + ", in a directory where every user can create " +
				"files: remove it, or choose another directory")}
		case private && mine && info.Mode().IsRegular() && info.Mode()&othersWrite != 0:
			err = out.Chmod(info.Mode().Perm() &^ othersWrite)
		}
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}
