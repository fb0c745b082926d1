package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// modules returns the paths of the files that define modules, as keys. These are the files of directories above that of
// the run, of listed modules, and of the workspace. It also includes modules that are replaced by a directory, needed
// or not, because they affect the selected versions.
func modules(in Inputs) (map[string]bool, error) {
	c := &collector{files: map[string]bool{}}
	for dir := in.Dir; ; dir = filepath.Dir(dir) {
		c.addModule(dir)
		c.addWorkspace(filepath.Join(dir, "go.work"))
		if dir == filepath.Dir(dir) {
			break
		}
	}
	for _, dir := range in.Modules {
		c.addModule(dir)
	}
	if work := circumstances().get("GOWORK"); work != "" && work != "off" {
		c.addWorkspace(work)
	}
	if in.GOROOT != "" {
		c.files[filepath.Join(in.GOROOT, "VERSION")] = true
		c.addDefaults(filepath.Join(in.GOROOT, "go.env"))
	}
	return c.files, errors.Join(c.errs...)
}

type collector struct {
	files map[string]bool
	errs  []error
}

// addModule adds the files of the module with that root directory, if there is one.
func (c *collector) addModule(dir string) {
	mod := filepath.Join(dir, "go.mod")
	content := c.readOnce(mod)
	if content == nil {
		return
	}
	c.addChecksums(dir, "go.sum")
	parsed, err := modfile.Parse(mod, content, nil)
	if err != nil {
		c.errs = append(c.errs, err)
		return
	}
	c.addReplaced(dir, parsed.Replace)
}

// addWorkspace adds the files of the workspace that a go.work file defines, if it exists.
func (c *collector) addWorkspace(work string) {
	content := c.readOnce(work)
	if content == nil {
		return
	}
	dir := filepath.Dir(work)
	c.addChecksums(dir, "go.work.sum")
	parsed, err := modfile.ParseWork(work, content, nil)
	if err != nil {
		c.errs = append(c.errs, err)
		return
	}
	for _, use := range parsed.Use {
		c.addModule(from(dir, use.Path))
	}
	c.addReplaced(dir, parsed.Replace)
}

// addDefaults adds the file with defaults of the environment. It reports variables that affect which files are read.
func (c *collector) addDefaults(env string) {
	c.files[env] = true
	for line := range strings.Lines(string(c.read(env))) {
		switch name, _, _ := strings.Cut(line, "="); strings.TrimSpace(name) {
		case "GOFLAGS", "GOWORK", "GOPACKAGESDRIVER", "GO111MODULE":
			c.errs = append(c.errs, fmt.Errorf("%s sets %s", env, name))
		}
	}
}

// addChecksums adds the checksum file and the vendor directory of a module or workspace.
func (c *collector) addChecksums(dir, sum string) {
	vendor := filepath.Join(dir, "vendor")
	for _, path := range []string{filepath.Join(dir, sum), vendor, filepath.Join(vendor, "modules.txt")} {
		c.files[path] = true
	}
}

func (c *collector) addReplaced(dir string, replace []*modfile.Replace) {
	for _, r := range replace {
		if r.New.Version == "" { // by a directory
			c.files[filepath.Join(from(dir, r.New.Path), "go.mod")] = true
		}
	}
}

// readOnce adds a file and returns its content. It returns nil if the file was added before or doesn't exist.
func (c *collector) readOnce(path string) []byte {
	if c.files[path] {
		return nil
	}
	c.files[path] = true
	return c.read(path)
}

// read returns the content of a file, or nil if it doesn't exist.
func (c *collector) read(path string) []byte {
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.errs = append(c.errs, err)
	}
	if err == nil && content == nil {
		c.errs = append(c.errs, fmt.Errorf("%s is empty", path))
	}
	return content
}

// from resolves a path in a file of dir.
func from(dir, path string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}
