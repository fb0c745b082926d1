// Package safepath checks whether users other than that of the process, and root, can replace a file: by the directories and
// links that its path leads through.
//
// What another user may do in a directory:
//
//	mode o+w                  create, replace and remove any file
//	mode o+w with sticky bit  create files, but neither replace nor remove those of others: /tmp
//	owner                     as o+w
//
// Write permission of a group is a choice of the user (umask 0002) and not a finding. Root is trusted, as it can do anything.
// So is an owner that is unknown in the process's user namespace, such as the host's root in a container without one. A process
// of root may use the directories of any user, as in a container with a directory of its host: [Finding.Root] marks that.
//
// Systems without modes have no findings: their access control is left to them.
package safepath

// A Kind is what a [Finding] is about.
type Kind int

const (
	// Parent: the directory that has the file, or a link to it, lets another user replace the file.
	Parent Kind = iota
	// Shared: that directory lets other users create files there, such as /tmp.
	Shared
	// Ancestor: a directory further up lets another user replace the directories below.
	Ancestor
	// Planted: a link of another user is on the way, in a directory where every user can create one.
	Planted
)

// A Finding is a directory or a link that is not safe.
type Finding struct {
	Kind Kind
	Path string
	Why  string // a clause: "every user may write to it"
	Root bool   // only its owner can make use of it, and the process is root's
}

// Walk follows path, which is absolute, and returns where it leads: a path without links, as far as it exists. euid is the
// user of the process. An error is the operating system's.
func Walk(path string, euid int) (resolved string, findings []Finding, err error) {
	return walk(path, euid)
}
