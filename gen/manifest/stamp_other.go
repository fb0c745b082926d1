//go:build !(linux || dragonfly || openbsd || solaris || darwin || freebsd || netbsd)

package manifest

import "io/fs"

// change: here a change can be hidden, so that contents are always looked at.
func change(fs.FileInfo) (ctime int64, inode uint64, ok bool) { return 0, 0, false }
