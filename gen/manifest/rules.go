package manifest

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// rules are what in a directory matters.
type rules struct {
	outputs []string // names of the generator's files
}

// kindOf returns how much of an entry of a directory matters; absent: nothing.
func (r rules) kindOf(e fs.DirEntry) kind {
	name := e.Name()
	switch {
	case e.IsDir():
		if name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
			return absent
		}
		return present
	case strings.HasPrefix(name, ".") && e.Type()&fs.ModeSymlink != 0:
		return absent // by such links editors mark what is open
	case strings.HasSuffix(name, ".go"), slices.Contains(r.outputs, name), slices.Contains(moduleFiles, name):
		return file
	case slices.Contains(others, filepath.Ext(name)):
		return present
	}
	return absent
}

// moduleFiles define what modules there are.
var moduleFiles = []string{"go.mod", "go.sum", "go.work", "go.work.sum"}

// others are the files that the go command counts to a package; their content doesn't matter here.
var others = []string{
	".c", ".cc", ".cpp", ".cxx", ".m", ".h", ".hh", ".hpp", ".hxx", ".f", ".F", ".for", ".f90", ".s", ".S", ".sx", ".swig",
	".swigcxx", ".syso",
}
