// Package safepath checks whether users other than root and the process's user can replace a file, by checking the
// directories and links of its path.
//
// What another user may do in a directory:
//
//	mode o+w                  create, replace and remove any file
//	mode o+w with sticky bit  create files, but neither replace nor remove those of others: /tmp
//	owner                     like o+w
//
// Write permission of a group is a user's choice (umask 0002) and not a finding. Root is trusted, because it can do
// anything. So is an owner that is unknown in the process's user namespace, such as the host's root in a container
// without one. A process of root may use directories of any user, such as a host directory in a container;
// [Finding.Root] marks these.
//
// Systems without modes have no findings; their access control applies.
package safepath

// A Kind is the kind of a [Finding].
type Kind int

const (
	// Parent: the directory of the file, or of a link to it, lets another user replace the file.
	Parent Kind = iota
	// Shared: that directory lets other users create files in it, such as /tmp.
	Shared
	// Ancestor: a directory further up lets another user replace the directories below it.
	Ancestor
	// Planted: the path contains a link of another user, in a directory that is writable by all users.
	Planted
)

// A Finding is an unsafe directory or link.
type Finding struct {
	Kind Kind
	Path string
	Why  string // a clause: "it is writable by all users"
	Root bool   // only the owner can exploit it, and the process runs as root
}

// Walk resolves path, which must be absolute: it returns a path without links, as far as it exists. euid is the
// process's user. Errors are the operating system's.
func Walk(path string, euid int) (resolved string, findings []Finding, err error) {
	return walk(path, euid)
}
