package templates_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/templates"
)

var options = templates.Options{Module: "example.com/new", Go: "1.26.0"}

// TestProjectRuns generates, vets, tests, builds and runs a project of each backend that uses this checkout.
func TestProjectRuns(t *testing.T) {
	for _, backend := range []templates.Backend{templates.Embedded, templates.Auto, templates.Servers} {
		t.Run(string(backend), func(t *testing.T) {
			if backend != templates.Embedded {
				testkit.Long(t, "compiles the drivers")
			}
			dir := newProject(t, backend)
			command(t, dir, "go", "mod", "tidy")
			wrote := command(t, dir, "go", "generate", "./...")
			if wrote != "wrote shop/af.contract.json\nwrote shop/af_gen.go\n" {
				t.Errorf("go generate prints %q", wrote)
			}
			if out := command(t, dir, "go", "tool", "afgen", "check", "./..."); out != "" {
				t.Errorf("check: %s", out)
			}
			command(t, dir, "go", "vet", "./...")
			command(t, dir, "go", "test", "./...")
			if unformatted := command(t, dir, "gofmt", "-l", "."); unformatted != "" {
				t.Errorf("not gofmt-clean: %s", unformatted)
			}
			checkLinked(t, dir, backend)
			command(t, dir, "go", "build", "-o", "bin/", ".", "./client")
			if backend != templates.Servers { // TestConfigMatchesCompose
				runProject(t, dir, backend)
			}
		})
	}
}

// newProject writes a project that uses this checkout and its versions, so that nothing is downloaded.
func newProject(t *testing.T, backend templates.Backend) (dir string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	o := options
	o.Backend, o.Checkout = backend, root
	dir = filepath.Join(t.TempDir(), "new")
	if _, err := templates.Write(dir, o); err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, filepath.Join(dir, "go.sum"), string(sum))
	return dir
}

// checkLinked checks that the programs link the drivers of their backend only.
func checkLinked(t *testing.T, dir string, backend templates.Backend) {
	t.Helper()
	linked := strings.Fields(command(t, dir, "go", "list", "-deps", ".", "./client"))
	for pkg, users := range map[string][]templates.Backend{
		"modernc.org/sqlite":                   {templates.Embedded, templates.Auto},
		"go.mongodb.org/mongo-driver/v2/mongo": {templates.Servers, templates.Auto},
		"github.com/rabbitmq/amqp091-go":       {templates.Servers, templates.Auto},
		"github.com/redis/go-redis/v9":         {templates.Servers, templates.Auto},
		"gopkg.in/yaml.v3":                     {templates.Servers, templates.Auto},
		"github.com/shirou/gopsutil/v4/cpu":    {templates.Auto},
	} {
		if got, want := slices.Contains(linked, pkg), slices.Contains(users, backend); got != want {
			t.Errorf("links %s: %t, want %t", pkg, got, want)
		}
	}
	if backend == templates.Embedded && slices.Contains(linked, "net/http") {
		t.Error("links net/http")
	}
}

// runProject runs the server and the client of a project.
func runProject(t *testing.T, dir string, backend templates.Backend) {
	t.Helper()
	if backend == templates.Auto {
		setListen(t, dir, "127.0.0.1:8090", "127.0.0.1:0")
	}
	server := startServer(t, dir)
	if backend == templates.Auto {
		checkDashboard(t, dir, server)
	}
	got := command(t, dir, filepath.Join(dir, "bin", "client"))
	if want := "3 × tea: 750 cents\nReceived 7.50 for 3 × tea.\n"; got != want {
		t.Errorf("client prints %q, want %q", got, want)
	}
	server.Signal(os.Interrupt)
	if code := server.Wait(); code != 0 {
		t.Errorf("server: exit code %d", code)
	}
}

// startServer starts the server of a project.
func startServer(t *testing.T, dir string) *testkit.Process {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "bin", "new"))
	cmd.Dir = dir
	return testkit.Launch(t, cmd)
}

// setListen changes the address of the dashboard in config.yaml.
func setListen(t *testing.T, dir, from, to string) {
	t.Helper()
	file := filepath.Join(dir, "config.yaml")
	text, err := os.ReadFile(file)
	testkit.Must(t, err)
	if !strings.Contains(string(text), "  listen: "+from+"\n") {
		t.Fatalf("the dashboard is not at %s:\n%s", from, text)
	}
	testkit.Write(t, file, strings.Replace(string(text), "  listen: "+from+"\n", "  listen: "+to+"\n", 1))
}

// checkDashboard gets the dashboard of a running server. A second server on the machine logs in one line who serves it,
// and runs.
func checkDashboard(t *testing.T, dir string, server *testkit.Process) {
	t.Helper()
	served := regexp.MustCompile(`msg=dashboard .*url=http://(127\.0\.0\.1:\d+)/`)
	var at []string
	server.Until("the address in the log", func(output string) bool {
		at = served.FindStringSubmatch(output)
		return at != nil
	})
	var page []byte
	testkit.Eventually(t, "the page shows the queue", func() bool {
		resp, err := http.Get("http://" + at[1] + "/queues")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		page, err = io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK && bytes.Contains(page, []byte("/queues/receipt"))
	})
	setListen(t, dir, "127.0.0.1:0", at[1])
	second := startServer(t, dir)
	second.Line("msg=started")
	second.Signal(os.Interrupt)
	if code := second.Wait(); code != 0 {
		t.Errorf("the second server: exit code %d", code)
	}
	lines := regexp.MustCompile(`(?m)^.*dashboard.*$`).FindAllString(second.Output(), -1)
	if len(lines) != 1 || !strings.Contains(lines[0], "in use by the dashboard of new, process ") {
		t.Errorf("the second server logs\n%s", second.Output())
	}
}

// The image's program is small. It is built with cgo and paths here, to use packages that other tests have compiled;
// internal/release builds programs without them.
func TestImageIsSmall(t *testing.T) {
	testkit.Long(t, "links SQLite")
	dir := newProject(t, templates.Embedded)
	command(t, dir, "go", "mod", "tidy")
	command(t, dir, "go", "generate", "./...")
	dockerfile, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	build := regexp.MustCompile(`(?m)^RUN (.*go build.*)$`).FindSubmatch(dockerfile)
	if build == nil {
		t.Fatalf("%s builds nothing", dockerfile)
	}
	out := t.TempDir()
	shared := strings.NewReplacer("/out/", out+"/", "CGO_ENABLED=0 ", "", "-trimpath ", "").Replace(string(build[1]))
	if strings.Contains(shared, "CGO_ENABLED") || strings.Contains(shared, "-trimpath") {
		t.Errorf("another command builds the image: %s", build[1])
	}
	command(t, dir, "sh", "-c", shared)
	info, err := os.Stat(filepath.Join(out, "server"))
	if err != nil {
		t.Fatal(err)
	}
	if mb := float64(info.Size()) / 1e6; mb > 14 {
		t.Errorf("the server has %.1f MB, want at most 14", mb)
	}
}

func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS="+testkit.GoFlags(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// Without BASE, make check would compare a commit with itself.
func TestCheckNeedsBase(t *testing.T) {
	dir := t.TempDir()
	if _, err := templates.Write(dir, options); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "make", "check")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "BASE=")
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return // TestProjectFiles checks the Makefile
	}
	if err == nil || !strings.Contains(string(out), "make check needs BASE") {
		t.Errorf("%v, output %s", err, out)
	}
}

func TestWriteKeepsExistingFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "shop/shop.go"} {
		testkit.Write(t, filepath.Join(dir, filepath.FromSlash(name)), "mine")
	}
	names, err := templates.Write(dir, options)
	if err == nil || names != nil {
		t.Fatalf("wrote %q, %v", names, err)
	}
	for _, want := range []string{"go.mod exists", "shop.go exists", "nothing was written"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q doesn't contain %q", err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("files %v, %v", entries, err)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "go.mod")); string(content) != "mine" {
		t.Errorf("go.mod is %q, %v", content, err)
	}
}

func TestWriteDoesNotFollowLinks(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	if err := os.Symlink(out, filepath.Join(dir, "shop")); err != nil {
		return // symbolic links are not supported
	}
	if names, err := templates.Write(dir, options); err == nil {
		t.Errorf("wrote %q", names)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) > 0 {
		t.Errorf("wrote %v, %v", entries, err)
	}
}

func TestWriteRemovesFilesAfterError(t *testing.T) {
	dir := t.TempDir()
	testkit.Symlink(t, "nowhere", filepath.Join(dir, "shop")) // the directory can't be created
	if names, err := templates.Write(dir, options); err == nil || names != nil {
		t.Fatalf("wrote %q, %v", names, err)
	}
	if err := os.Remove(filepath.Join(dir, "shop")); err != nil {
		t.Fatal(err)
	}
	if _, err := templates.Write(dir, options); err != nil {
		t.Errorf("second call: %v", err)
	}
}
