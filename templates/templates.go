// Package templates contains the project that afgen init creates.
//
// The files are in the directory project. They end in .tmpl, so that the go command and editors ignore them. [Write]
// executes them for a backend and removes that suffix. The project has no generated code; go generate ./... creates it.
package templates

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

//go:embed project
var project embed.FS

//go:embed open.tmpl
var open string // a template for the programs' statements that open the App

// A Backend is what the programs of a project open.
type Backend string

const (
	Embedded Backend = "embedded" // one SQLite file; links no other driver and reads no configuration file
	Servers  Backend = "servers"  // RabbitMQ, MongoDB and Redis; links no SQLite
	Auto     Backend = "auto"     // what config.yaml selects; links all drivers
)

// backends maps each backend to the files that only other backends need.
var backends = map[Backend][]string{
	Embedded: {"compose.yaml", "config.yaml"},
	Servers:  nil,
	Auto:     nil,
}

// Options configure a project.
type Options struct {
	Module   string  // module path
	Backend  Backend // "" means Auto
	Go       string  // Go version for go.mod and the Dockerfile; "" means 1.26, the oldest that afgen works with
	Version  string  // version of afgen for go.mod; "" lets go mod tidy choose one
	Checkout string  // directory of afgen's source for a replace directive if Version is "", or ""
}

// A File is a file of a project.
type File struct {
	Name    string // relative to the directory of the project, with forward slashes
	Content []byte
}

// Files returns the files of a project, sorted by name.
func Files(o Options) ([]File, error) {
	o.Backend, o.Go = cmp.Or(o.Backend, Auto), cmp.Or(o.Go, "1.26")
	omitted, ok := backends[o.Backend]
	if !ok {
		return nil, fmt.Errorf("backend %q: want %s, %s or %s", o.Backend, Embedded, Servers, Auto)
	}
	var files []File
	err := fs.WalkDir(project, "project", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		target := strings.TrimSuffix(strings.TrimPrefix(name, "project/"), ".tmpl")
		// embed omits files that begin with a dot.
		target = strings.TrimPrefix(strings.ReplaceAll("/"+target, "/dot.", "/."), "/")
		if slices.Contains(omitted, target) {
			return nil
		}
		text, err := project.ReadFile(name)
		if err != nil {
			return err
		}
		t := template.New(name).Option("missingkey=error")
		for _, text := range []string{open, string(text)} {
			if _, err := t.Parse(strings.ReplaceAll(text, "\r\n", "\n")); err != nil {
				return err
			}
		}
		var b bytes.Buffer
		if err := t.Execute(&b, o); err != nil {
			return err
		}
		files = append(files, File{target, b.Bytes()})
		return nil
	})
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files, err
}

// Write writes a project to dir, which need not exist, and returns the names of its files. If some of the files exist,
// it writes nothing and returns an error that lists them. After other errors it removes the files that it has written.
func Write(dir string, o Options) (names []string, err error) {
	files, err := Files(o)
	if err != nil {
		return nil, err
	}
	var existing []error
	for _, f := range files {
		switch _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(f.Name))); {
		case err == nil:
			existing = append(existing, fmt.Errorf("%s exists", filepath.Join(dir, filepath.FromSlash(f.Name))))
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	if existing != nil {
		existing = append(existing, errors.New("nothing was written: choose another directory, or move these files"))
		return nil, errors.Join(existing...)
	}
	var written []string
	defer func() {
		if err != nil {
			names = nil
			for _, file := range written {
				_ = os.Remove(filepath.Join(dir, file)) // err is the cause
			}
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir) // doesn't follow links out of dir
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, f := range files {
		file := filepath.FromSlash(f.Name)
		if err := root.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		// O_EXCL: another process may have created it.
		out, err := root.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return nil, err
		}
		written = append(written, file)
		_, err = out.Write(f.Content)
		if err := errors.Join(err, out.Close()); err != nil {
			return nil, err
		}
		names = append(names, f.Name)
	}
	return names, nil
}
