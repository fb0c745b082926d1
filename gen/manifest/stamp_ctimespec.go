//go:build darwin || freebsd || netbsd

package manifest

import (
	"io/fs"
	"syscall"
	"time"
)

// change returns the ctime and the inode of a file.
func change(info fs.FileInfo) (ctime int64, inode uint64, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int64(s.Ctimespec.Sec)*int64(time.Second) + int64(s.Ctimespec.Nsec), uint64(s.Ino), true
}
