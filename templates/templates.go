// Package templates is what `afgen init` writes: a small project that runs, in the folder project. Its files end in
// .tmpl so that the go command and editors leave them alone; [Write] fills in the module's name and drops that ending.
// What afgen generates is not among them: the first `go generate ./...` makes it.
package templates

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed project
var project embed.FS

// Options is what a project is made for.
type Options struct {
	Module   string // its import path
	Go       string // the version of Go for go.mod, such as 1.26.0
	Version  string // of afgen, for go.mod; "" lets `go mod tidy` choose
	Checkout string // the folder of afgen's source that go.mod replaces it by, where Version is ""; "" for none
}

// A File is one file of a project.
type File struct {
	Name    string // relative to the project's folder, with forward slashes
	Content []byte
}

// Files returns the files of a project, sorted by name.
func Files(o Options) ([]File, error) {
	var files []File
	err := fs.WalkDir(project, "project", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := project.ReadFile(name)
		if err != nil {
			return err
		}
		t, err := template.New(name).Option("missingkey=error").Parse(strings.ReplaceAll(string(text), "\r\n", "\n"))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, o); err != nil {
			return err
		}
		name = strings.TrimSuffix(strings.TrimPrefix(name, "project/"), ".tmpl")
		if rest, ok := strings.CutPrefix(path.Base(name), "dot."); ok { // embed leaves out files that begin with a dot
			name = path.Join(path.Dir(name), "."+rest)
		}
		files = append(files, File{name, b.Bytes()})
		return nil
	})
	return files, err
}

// Write makes a project in dir, which need not exist, and returns the names of its files. It overwrites nothing: where
// a file is in the way it writes none and names all that are. After another error it takes back what it has written, so
// that it can be run again.
func Write(dir string, o Options) (names []string, err error) {
	files, err := Files(o)
	if err != nil {
		return nil, err
	}
	var inTheWay []error
	for _, f := range files {
		switch _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(f.Name))); {
		case err == nil:
			inTheWay = append(inTheWay, fmt.Errorf("%s exists", filepath.Join(dir, filepath.FromSlash(f.Name))))
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	if inTheWay != nil {
		return nil, errors.Join(append(inTheWay, errors.New("nothing was written: choose another folder, or move what is there"))...)
	}
	var written []string
	defer func() {
		if err != nil {
			names = nil
			for _, file := range written {
				_ = os.Remove(filepath.Join(dir, file)) // err is the reason
			}
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir) // no link in it leads out of it
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, f := range files {
		file := filepath.FromSlash(f.Name)
		if err := root.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		// O_EXCL: it may have come into being since.
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
