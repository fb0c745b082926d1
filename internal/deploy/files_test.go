package deploy

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/afgen/afgen/runtime/config"
)

const (
	root = "../.."
	dir  = root + "/deploy"
)

// eachFile calls f with every file of deploy whose name ends with one of the endings.
func eachFile(t *testing.T, endings []string, f func(path string, text []byte)) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(path, e) }) {
			found++
			f(path, read(t, path))
		}
		return err
	})
	if err != nil || found == 0 {
		t.Fatalf("%d files %v: %v", found, endings, err)
	}
}

// decode decodes a file of one document, with those keys only that v has.
func decode(t *testing.T, path string, v any) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(read(t, path)))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Files are YAML without repeated keys, and have one document.
func TestFilesAreYAML(t *testing.T) {
	eachFile(t, []string{".yaml"}, func(path string, text []byte) {
		d := yaml.NewDecoder(bytes.NewReader(text))
		var document map[string]any
		if err := d.Decode(&document); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if err := d.Decode(&document); !errors.Is(err, io.EOF) {
			t.Errorf("%s has another document: %v", path, err)
		}
	})
}

// Images have a version of at least two numbers, so that a file means the same tomorrow.
func TestImagesArePinned(t *testing.T) {
	image := regexp.MustCompile(`(?m)^ *(?:image:|FROM) +(\S+)`)
	pinned := regexp.MustCompile(`^[\w./-]+:v?\d+\.\d+[\w.-]*$`)
	if pinned.MatchString("mongo:8") || pinned.MatchString("mongo:latest") || !pinned.MatchString("a.b/c:v1.2.3") {
		t.Fatal(pinned)
	}
	other := []string{
		"afgen-gallery", // built here
		"gcr.io/distroless/static-debian12:nonroot", // has no versions
	}
	found := 0
	eachFile(t, []string{".yaml", "Dockerfile"}, func(path string, text []byte) {
		for _, m := range image.FindAllSubmatch(text, -1) {
			found++
			if i := string(m[1]); !pinned.MatchString(i) && !slices.Contains(other, i) {
				t.Errorf("%s: the image %s has no version", path, i)
			}
		}
	})
	if found < 10 {
		t.Errorf("found only %d images", found)
	}
	goVersion := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(read(t, root+"/go.mod")))
	if text := string(read(t, dir+"/compose/Dockerfile")); !strings.Contains(text, "FROM golang:"+goVersion[1]+" ") {
		t.Errorf("the Dockerfile does not build with Go %s", goVersion[1])
	}
}

// drainTime is how long Run takes at most to stop: the default of af.DrainTimeout, and 3 s.
func drainTime(t *testing.T) time.Duration {
	t.Helper()
	m := regexp.MustCompile(`\bdrain: (\d+) \* time\.Second`).FindSubmatch(read(t, root+"/runtime/options.go"))
	if m == nil {
		t.Fatal("runtime/options.go has no default drain")
	}
	d, err := time.ParseDuration(string(m[1]) + "s")
	if err != nil || d < time.Second {
		t.Fatal(d, err)
	}
	return d + 3*time.Second
}

// checkConfig parses a configuration with the variables that its program gets. It must use all of them.
func checkConfig(t *testing.T, path string, variables map[string]string) {
	t.Helper()
	used := map[string]bool{}
	c, err := config.Parse(path, read(t, path), func(name string) (string, bool) {
		used[name] = true
		value, ok := variables[name]
		return value, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.MongoDB == nil || c.Redis == nil || c.RabbitMQ == nil {
		t.Errorf("%s does not select the servers", path)
	}
	if c.Logger.Path != "" || !slices.Contains(slices.Collect(maps.Keys(used)), "RABBITMQ_PASSWORD") {
		t.Errorf("%s: the log goes to %q; variables %v", path, c.Logger.Path, used)
	}
	for name := range variables {
		if !used[name] {
			t.Errorf("%s does not use the variable %s", path, name)
		}
	}
}

// The README mentions every directory, and only files that exist.
func TestREADMEListsTheFiles(t *testing.T) {
	text := string(read(t, dir+"/README.md"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.Contains(text, "("+e.Name()) {
			t.Errorf("README.md has no link to %s", e.Name())
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
			t.Error(err)
		}
	}
}
