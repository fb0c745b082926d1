package manifest

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// rules select the relevant entries of a directory.
type rules struct {
	outputs []string // names of the generator's files
}

// kindOf returns the kind of an entry of a directory, or absent if it isn't relevant.
func (r rules) kindOf(e fs.DirEntry) kind {
	name := e.Name()
	switch {
	case e.IsDir():
		if name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
			return absent
		}
		return present
	case strings.HasPrefix(name, ".") && e.Type()&fs.ModeSymlink != 0:
		return absent // a lock file of an editor
	case strings.HasSuffix(name, ".go"), slices.Contains(r.outputs, name), slices.Contains(moduleFiles, name):
		return file
	case slices.Contains(others, filepath.Ext(name)):
		return present
	}
	return absent
}

// moduleFiles define modules.
var moduleFiles = []string{"go.mod", "go.sum", "go.work", "go.work.sum"}

// others are extensions of other files that belong to a package. Their content doesn't matter.
var others = []string{
	".c", ".cc", ".cpp", ".cxx", ".m", ".h", ".hh", ".hpp", ".hxx", ".f", ".F", ".for", ".f90", ".s", ".S", ".sx", ".swig",
	".swigcxx", ".syso",
}
