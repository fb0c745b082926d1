package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A Key identifies the arguments and the environment of a run.
type Key string

// format is part of every Key, so that manifests of other formats are not found.
const format = "afgen manifest 1\n"

// A Question has the arguments of a run.
type Question struct {
	Dir      string // absolute
	Patterns []string
	Tags     string
}

// KeyOf returns the key of a run of this process in its current environment. It fails if a manifest can't detect all
// changes in this environment.
func KeyOf(q Question) (Key, error) {
	build, err := buildID()
	if err != nil {
		return "", err
	}
	env := circumstances()
	if err := env.trusted(); err != nil {
		return "", err
	}
	h := sha256.New()
	write := func(what string, values ...string) {
		fmt.Fprintf(h, "%s %d\n", what, len(values))
		for _, v := range values {
			fmt.Fprintf(h, "%d %s\n", len(v), v)
		}
	}
	write("format", format)
	write("build", build)
	write("question", append([]string{q.Dir, q.Tags}, q.Patterns...)...)
	write("environment", env.variables...)
	write("go env", string(env.file))
	write("go", identity("go"))
	// Without CGO_ENABLED or CC, the go command enables cgo if it finds a compiler.
	write("compilers", identity("gcc"), identity("clang"))
	return Key(hex.EncodeToString(h.Sum(nil))), nil
}

// identity returns the path of a program in PATH and the version of its file, or "".
func identity(program string) string {
	path, err := exec.LookPath(program)
	if err != nil {
		return ""
	}
	id, _ := version(path)
	return id
}

// version returns a text that differs for other programs and for other versions of a program.
func version(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	ctime, inode, _ := change(info)
	return fmt.Sprintf("%s %d %d %d %d", path, info.Size(), info.ModTime().UnixNano(), ctime, inode), nil
}

// An environment has the settings that affect the go command.
type environment struct {
	variables []string // NAME=value, sorted
	file      []byte   // the file of go env -w
	err       error
}

var (
	ignored    = []string{"GOFILE", "GOLINE", "GOPACKAGE", "GOCOVERDIR"} // set by go generate and go test, not read
	additional = []string{"CC", "HOME", "USERPROFILE"}                   // in addition to GO… and CGO_…
)

func circumstances() environment {
	var e environment
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case slices.Contains(ignored, name):
		case strings.HasPrefix(name, "GO"), strings.HasPrefix(name, "CGO_"), slices.Contains(additional, name):
			e.variables = append(e.variables, kv)
		}
	}
	slices.Sort(e.variables)
	name := os.Getenv("GOENV")
	if name == "off" {
		return e
	}
	if name == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return e // the go command has no such file either
		}
		name = filepath.Join(dir, "go", "env")
	}
	content, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		e.err = err
	}
	e.file = content
	return e
}

// get returns a variable of the go command.
func (e environment) get(name string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	value := ""
	for line := range strings.Lines(string(e.file)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			value = v
		}
	}
	return value
}

// trusted returns an error if the go command may read files that a manifest doesn't list.
func (e environment) trusted() error {
	if e.err != nil {
		return e.err
	}
	if e.get("GO111MODULE") == "off" {
		return errors.New("GO111MODULE=off")
	}
	if d := e.get("GOPACKAGESDRIVER"); d != "" && d != "off" {
		return errors.New("GOPACKAGESDRIVER is set")
	}
	if _, err := exec.LookPath("gopackagesdriver"); err == nil && os.Getenv("GOPACKAGESDRIVER") != "off" {
		return errors.New("gopackagesdriver is in PATH")
	}
	for f := range strings.FieldsSeq(e.get("GOFLAGS")) {
		name, _, _ := strings.Cut(strings.TrimLeft(f, "-"), "=")
		if !slices.Contains(harmless, name) {
			return fmt.Errorf("GOFLAGS has %s", f)
		}
	}
	return nil
}

// harmless are the flags in GOFLAGS that name no files. Their values are part of the key.
var harmless = []string{
	"mod", "tags", "trimpath", "buildvcs", "race", "msan", "asan", "v", "x", "a", "p", "count", "timeout", "short",
	"modcacherw", "buildmode",
}
