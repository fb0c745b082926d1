//go:build !(linux || dragonfly || openbsd || solaris || darwin || freebsd || netbsd)

package manifest

import "io/fs"

// change: here nothing tells of a change that its author hides, so that contents are always looked at.
func change(fs.FileInfo) (ctime int64, inode uint64, ok bool) { return 0, 0, false }
