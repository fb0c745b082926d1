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

// A Key identifies what a run is asked for and its circumstances beyond the files of the code.
type Key string

// format is part of every Key: another format's manifests are other manifests.
const format = "afgen manifest 1\n"

// A Question is what a run is asked for.
type Question struct {
	Dir      string // absolute
	Patterns []string
	Tags     string
}

// KeyOf returns the key of a run by this process in its present environment. It fails if no manifest can detect changes in
// this environment.
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

// identity names a program in PATH and the version of its file, or "" if there is none.
func identity(program string) string {
	path, err := exec.LookPath(program)
	if err != nil {
		return ""
	}
	id, _ := version(path)
	return id
}

// version distinguishes a program from others, and from its earlier versions.
func version(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	ctime, inode, _ := change(info)
	return fmt.Sprintf("%s %d %d %d %d", path, info.Size(), info.ModTime().UnixNano(), ctime, inode), nil
}

// An environment is what the go command goes by.
type environment struct {
	variables []string // NAME=value, sorted
	file      []byte   // what go env -w has written
	err       error
}

var (
	byFile = []string{"GOFILE", "GOLINE", "GOPACKAGE", "GOCOVERDIR"} // which go generate sets for each, and nothing reads
	more   = []string{"CC", "HOME", "USERPROFILE"}                   // and GO… and CGO_…
)

func circumstances() environment {
	var e environment
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case slices.Contains(byFile, name):
		case strings.HasPrefix(name, "GO"), strings.HasPrefix(name, "CGO_"), slices.Contains(more, name):
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
			return e // nor does the go command have such a file
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

// get returns a variable as the go command would.
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

// trusted returns why the go command may read files here that no manifest lists, or nil.
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
		return errors.New("there is a gopackagesdriver")
	}
	for f := range strings.FieldsSeq(e.get("GOFLAGS")) {
		name, _, _ := strings.Cut(strings.TrimLeft(f, "-"), "=")
		if !slices.Contains(harmless, name) {
			return fmt.Errorf("GOFLAGS has %s", f)
		}
	}
	return nil
}

// harmless are the flags in GOFLAGS that name no files: what they do is a matter of the key.
var harmless = []string{
	"mod", "tags", "trimpath", "buildvcs", "race", "msan", "asan", "v", "x", "a", "p", "count", "timeout", "short", "modcacherw",
	"buildmode",
}
