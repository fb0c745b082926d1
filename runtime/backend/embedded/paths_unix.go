//go:build unix

package embedded

import (
	"fmt"
	"io/fs"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// accessible returns an error if a file can't be read and written.
func accessible(path string) error {
	if err := unix.Access(path, unix.R_OK|unix.W_OK); err != nil {
		return &fs.PathError{Op: "access", Path: path, Err: err}
	}
	return nil
}

// ownedBy reports whether a file belongs to the user euid. If not, it returns the owner.
func ownedBy(info fs.FileInfo, euid int) (owner string, mine bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == euid {
		return "", true
	}
	id := strconv.FormatUint(uint64(stat.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return fmt.Sprintf("user %s", u.Username), false
	}
	return "user " + id, false
}

// modeOf returns the permissions of a file.
func modeOf(info fs.FileInfo) fs.FileMode { return info.Mode().Perm() }

// links returns the number of a file's hard links.
func links(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink) // its type differs between systems
	}
	return 1
}
