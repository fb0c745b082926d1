//go:build !unix

package embedded

import "io/fs"

// ownedBy leaves access control to the operating system.
func ownedBy(fs.FileInfo, int) (owner string, mine bool) { return "", true }

// accessible leaves access control to the operating system: SQLite's own error is exact.
func accessible(string) error { return nil }

// modeOf returns no permissions, since those of package os don't describe access rights here.
func modeOf(fs.FileInfo) fs.FileMode { return 0 }

// links returns the number of a file's hard links, which is unknown here.
func links(fs.FileInfo) uint64 { return 1 }
