//go:build !unix

package embedded

import "io/fs"

// ownedBy leaves ownership to the operating system's access control.
func ownedBy(fs.FileInfo, int) (owner string, mine bool) { return "", true }

// accessible leaves access to the operating system, which SQLite asks.
func accessible(string) error { return nil }

// modeOf returns no permissions: what package os returns of them doesn't describe who may do what.
func modeOf(fs.FileInfo) fs.FileMode { return 0 }

// links returns how many names a file has, as far as that is known.
func links(fs.FileInfo) uint64 { return 1 }
