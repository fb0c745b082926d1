package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/afgen/afgen/internal/testkit"
)

// packed is the version of the modules that a test packs. It is always the same one, so that packages that have not
// changed since the last run are not compiled again.
const packed = "v0.0.1-test"

// A program outside of this repository gets the modules of HEAD by their versions, as users do: no replace directive, no
// workspace. It generates code, and runs with metrics and traces. Another one gets the root module only.
func TestConsumersGetTheModules(t *testing.T) {
	testkit.Long(t, "packs all modules, and builds the commands and two programs")
	c := newConsumer(t)

	bin, empty := t.TempDir(), t.TempDir()
	c.env = append(c.env, "GOBIN="+bin)
	c.goCommand(empty, "install", rootModule+"/cmd/afgen@"+packed, rootModule+"/cmd/af@"+packed)
	for _, command := range []string{"afgen", "af"} {
		if got := c.run(empty, filepath.Join(bin, command), "version"); !strings.HasPrefix(got, command+" "+packed+" ") {
			t.Errorf("version: %s", got)
		}
	}

	shop := program(t, "shop")
	c.goCommand(shop, "mod", "init", "example.com/shop")
	c.goCommand(shop, "get", rootModule+"@"+packed, rootModule+"/metrics@"+packed, rootModule+"/otel@"+packed)
	c.run(shop, filepath.Join(bin, "afgen"), "./...")
	c.goCommand(shop, "mod", "tidy")
	if got := c.goCommand(shop, "run", "."); got != "3\nspan prices/Price\nrpc_server_call_duration_seconds_count 1" {
		t.Errorf("the program prints %q", got)
	}

	alone := program(t, "alone")
	c.goCommand(alone, "mod", "init", "example.com/alone")
	c.goCommand(alone, "get", rootModule+"@"+packed)
	c.goCommand(alone, "mod", "tidy")
	if got := c.goCommand(alone, "run", "."); got != "running" {
		t.Errorf("the program prints %q", got)
	}
	checkBuildList(t, c, alone)
}

// checkBuildList checks the modules that a program on the backend memory gets with the root module. Each one is a version
// that users are held to, whether or not they use what needs it: think twice before adding one.
func checkBuildList(t *testing.T, c *consumer, dir string) {
	t.Helper()
	var file struct{ Require []struct{ Path string } }
	if err := json.Unmarshal([]byte(c.goCommand(dir, "mod", "edit", "-json")), &file); err != nil {
		t.Fatal(err)
	}
	var required []string
	for _, r := range file.Require {
		required = append(required, r.Path)
	}
	if want := []string{rootModule, "github.com/robfig/cron/v3", "golang.org/x/sync"}; !slices.Equal(required, want) {
		t.Errorf("its go.mod requires %q, want %q", required, want)
	}
	var graph []string // what the root module requires
	for line := range strings.Lines(c.goCommand(dir, "mod", "graph")) {
		from, to, _ := strings.Cut(strings.TrimSpace(line), " ")
		if from == rootModule+"@"+packed {
			graph = append(graph, to)
		}
	}
	const before = 56 // with go, as before there were instruments
	if n := len(graph); n == 0 || n > before {
		t.Errorf("the root module requires %d modules, want at most %d: %q", n, before, graph)
	}
	for _, m := range graph {
		if strings.HasPrefix(m, "go.opentelemetry.io/") || strings.HasPrefix(m, "github.com/prometheus/") {
			t.Errorf("the root module requires %s", m)
		}
	}
}

// Nested modules that require an older root are refused, and so are replace directives of the root and workspaces.
func TestCheckModules(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(text), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	of := func(dir, version string) {
		write(dir+"/go.mod", fmt.Sprintf("module %s/%s\n\nrequire %[1]s %[3]s\n\nreplace %[1]s => ../\n", rootModule, dir, version))
	}
	check := func(want string) {
		t.Helper()
		if err := checkModules(t.Context(), root, "v0.3.0"); want == "" && err != nil ||
			want != "" && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	write("go.mod", "module "+rootModule+"\n")
	of("otel", "v0.3.0")
	of("metrics", "v0.2.9")
	check("metrics/go.mod requires v0.2.9 of github.com/afgen/afgen, older than v0.3.0: (cd metrics && go mod edit " +
		"-require=github.com/afgen/afgen@v0.3.0)")
	of("metrics", "v0.3.1")
	check("")
	write("otel/go.mod", "module "+rootModule+"/otel\n")
	check("otel/go.mod requires no version")
	of("otel", "v0.3.0")
	write("go.work", "go 1.26\n")
	check("go.work")
	if err := os.Remove(filepath.Join(root, "go.work")); err != nil {
		t.Fatal(err)
	}
	write("go.mod", "module "+rootModule+"\n\nreplace example.com/a => ../a\n")
	check("replace directive")
	if err := checkModules(t.Context(), root, "0.3"); err == nil || !strings.Contains(err.Error(), "like v1.2.3") {
		t.Errorf("an invalid version: %v", err)
	}
}

// A consumer runs go commands that find the packed modules.
type consumer struct {
	t   *testing.T
	env []string
}

// newConsumer packs the modules of HEAD into a proxy of their own. Other modules come from the module cache, and from the
// proxy of the environment if they are not there. The packed ones must be in the same cache, as the directory of a
// package is part of what it is compiled from; they are removed at the end.
func newConsumer(t *testing.T) *consumer {
	t.Helper()
	c := &consumer{t: t, env: []string{
		"GOFLAGS=-mod=mod -modcacherw", "GOWORK=off", "GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GOTOOLCHAIN=local",
		"GODEBUG=goindex=0", // the go command indexes the files of a version once, and here these change
	}}
	cache := c.goCommand(".", "env", "GOMODCACHE")
	must(t, os.MkdirAll(cache, 0o777))
	lock := flock.New(filepath.Join(os.TempDir(), "afgen-consumer.lock"))
	if ok, err := lock.TryLockContext(t.Context(), 100*time.Millisecond); !ok || err != nil {
		t.Fatal("waiting for another test:", err)
	}
	forget := func() {
		for _, pattern := range []string{
			rootModule + "@" + packed, rootModule + "/*@" + packed,
			"cache/download/" + rootModule + "/@v/" + packed + ".*", "cache/download/" + rootModule + "/*/@v/" + packed + ".*",
		} {
			found, err := filepath.Glob(filepath.Join(cache, filepath.FromSlash(pattern)))
			must(t, err)
			for _, name := range found {
				must(t, os.RemoveAll(name))
			}
		}
	}
	forget()
	t.Cleanup(func() {
		forget()
		must(t, lock.Unlock())
	})

	root, proxy := tagged(t), t.TempDir()
	for _, dir := range append([]string{""}, nested...) {
		pack(t, proxy, root, dir)
	}
	others := c.goCommand(".", "env", "GOPROXY")
	c.env = append(c.env, "GOPROXY="+fileURL(proxy)+","+fileURL(filepath.Join(cache, "cache", "download"))+","+others)
	return c
}

// tagged returns a clone of HEAD in which the nested modules require the packed version of the root.
func tagged(t *testing.T) string {
	t.Helper()
	root := clone(t, packed)
	err := checkModules(t.Context(), root, packed)
	for _, dir := range nested {
		if err == nil || !strings.Contains(err.Error(), dir+"/go.mod requires v0.0.0") {
			t.Errorf("before the requirements are raised: %v", err)
		}
		cmd := exec.Command("go", "mod", "edit", "-require="+rootModule+"@"+packed)
		cmd.Dir = filepath.Join(root, dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	git(t, root, "-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgSign=false", "commit", "-qam",
		"Raise requirements")
	must(t, checkModules(t.Context(), root, "")) // of the latest tag
	return root
}

// pack adds a module to a proxy.
func pack(t *testing.T, proxy, root, dir string) {
	t.Helper()
	m := module.Version{Path: strings.TrimSuffix(rootModule+"/"+dir, "/"), Version: packed}
	var archive bytes.Buffer
	must(t, zip.CreateFromVCS(&archive, m, root, "HEAD", dir))
	text, err := os.ReadFile(filepath.Join(root, dir, "go.mod"))
	must(t, err)
	info, err := json.Marshal(map[string]string{"Version": packed, "Time": "2026-01-02T03:04:05Z"})
	must(t, err)
	at := filepath.Join(proxy, filepath.FromSlash(m.Path), "@v")
	must(t, os.MkdirAll(at, 0o777))
	for name, data := range map[string][]byte{
		"list": []byte(packed + "\n"), packed + ".info": info, packed + ".mod": text, packed + ".zip": archive.Bytes(),
	} {
		must(t, os.WriteFile(filepath.Join(at, name), data, 0o666))
	}
}

// fileURL returns the URL of a directory.
func fileURL(dir string) string {
	return "file:///" + strings.TrimPrefix(filepath.ToSlash(dir), "/")
}

// program returns a directory with the files of a program of testdata.
func program(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	files, err := fs.Sub(os.DirFS("testdata"), name)
	must(t, err)
	must(t, os.CopyFS(dir, files))
	return dir
}

// goCommand runs a go command in a directory and returns what it prints.
func (c *consumer) goCommand(dir string, args ...string) string {
	c.t.Helper()
	return c.run(dir, "go", args...)
}

func (c *consumer) run(dir, name string, args ...string) string {
	c.t.Helper()
	out, err := output(c.t.Context(), dir, c.env, name, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clone returns a clone of this repository whose HEAD has a tag.
func clone(t *testing.T, tag string) string {
	t.Helper()
	dir := t.TempDir()
	git(t, ".", "clone", "-q", "../..", dir)
	git(t, dir, "tag", tag)
	return dir
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", args, err, out)
	}
}
