package templates_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/config"
	"github.com/afgen/afgen/templates"
)

var options = templates.Options{Module: "example.com/new", Go: "1.26.0"}

// TestProjectRuns generates, vets, tests and runs a project that uses this checkout.
func TestProjectRuns(t *testing.T) {
	testkit.Long(t, "compiles all backends again")
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	o := options
	o.Checkout = root
	if _, err := templates.Write(dir, o); err != nil {
		t.Fatal(err)
	}
	// Use the versions of the checkout, so that nothing is downloaded.
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o644); err != nil {
		t.Fatal(err)
	}
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
	command(t, dir, "go", "build", "-o", "bin/", ".", "./client")

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	server := exec.CommandContext(ctx, filepath.Join(dir, "bin", "new"))
	server.Dir, server.WaitDelay = dir, time.Minute
	server.Cancel = func() error { return server.Process.Signal(os.Interrupt) }
	var log bytes.Buffer
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	got := command(t, dir, filepath.Join(dir, "bin", "client"))
	if want := "3 × tea: 750 cents\nReceived 7.50 for 3 × tea.\n"; got != want {
		t.Errorf("client prints %q, want %q", got, want)
	}
	cancel()
	if err := server.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("server: %v", err)
	}
	if t.Failed() {
		t.Logf("output of the server:\n%s", log.String())
	}
}

func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
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

func TestProjectFiles(t *testing.T) {
	files, err := templates.Files(templates.Options{Module: "example.com/x", Go: "1.26.1", Version: "v1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	var names []string
	for _, f := range files {
		content[f.Name] = string(f.Content)
		names = append(names, f.Name)
	}
	want := []string{
		".gitattributes", ".gitignore", "Makefile", "client/main.go", "compose.yaml", "config.yaml", "go.mod", "main.go",
		"shop/shop.go", "shop/shop_test.go",
	}
	slices.Sort(names)
	if !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
	if !strings.Contains(content["Makefile"], `test -n "$(BASE)"`) {
		t.Error("make check doesn't require BASE")
	}
	mod := "module example.com/x\n\ngo 1.26.1\n\nrequire github.com/afgen/afgen v1.2.3\n\n" +
		"tool github.com/afgen/afgen/cmd/afgen\n"
	if content["go.mod"] != mod {
		t.Errorf("go.mod:\n%s", content["go.mod"])
	}
	if !strings.Contains(content["main.go"], "//go:generate go tool afgen ./...\n") {
		t.Error("main.go has no go:generate line")
	}
}

// config.yaml is valid with and without the lines for the servers, which match compose.yaml.
func TestConfigMatchesCompose(t *testing.T) {
	files, err := templates.Files(options)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string][]byte{}
	for _, f := range files {
		content[f.Name] = f.Content
	}
	cfg, err := config.Parse("config.yaml", content["config.yaml"], noVariables)
	if backend, _ := cfg.Backend(); backend != config.BackendEmbedded || err != nil {
		t.Errorf("without servers: %q, %v", backend, err)
	}
	uncommented := regexp.MustCompile(`(?m)^# (  \w+: |\w+:$)`).ReplaceAll(content["config.yaml"], []byte("$1"))
	cfg, err = config.Parse("config.yaml", uncommented, noVariables)
	if backend, _ := cfg.Backend(); backend != config.BackendServers || err != nil {
		t.Fatalf("with servers: %q, %v\n%s", backend, err, uncommented)
	}
	var compose struct {
		Services map[string]struct {
			Image       string
			Ports       []string
			Environment map[string]string
			Entrypoint  []string
			Healthcheck struct{ Test []string }
		}
	}
	if err := yaml.Unmarshal(content["compose.yaml"], &compose); err != nil {
		t.Fatal(err)
	}
	for name, image := range map[string]string{"rabbitmq": "rabbitmq:4", "mongodb": "mongo:8", "redis": "redis:7"} {
		s := compose.Services[name]
		if s.Image != image || len(s.Healthcheck.Test) == 0 || len(s.Ports) != 1 ||
			!strings.HasPrefix(s.Ports[0], "127.0.0.1:") {
			t.Errorf("%s: %+v", name, s)
		}
	}
	rabbit, mongo := compose.Services["rabbitmq"].Environment, compose.Services["mongodb"].Environment
	if cfg.RabbitMQ.Username != rabbit["RABBITMQ_DEFAULT_USER"] ||
		cfg.MongoDB.Username != mongo["MONGO_INITDB_ROOT_USERNAME"] {
		t.Errorf("users: %q and %q, in compose.yaml %v and %v", cfg.RabbitMQ.Username, cfg.MongoDB.Username, rabbit, mongo)
	}
	// The member's address must be the one that programs connect to, since they use it after the first answer.
	address := net.JoinHostPort(cfg.MongoDB.Host, strconv.Itoa(cfg.MongoDB.Port))
	check := strings.Join(compose.Services["mongodb"].Healthcheck.Test, " ")
	if !strings.Contains(strings.Join(compose.Services["mongodb"].Entrypoint, " "), "--replSet rs0") ||
		!strings.Contains(check, `_id: "rs0"`) || !strings.Contains(check, `host: "`+address+`"`) {
		t.Errorf("the replica set of MongoDB: %+v", compose.Services["mongodb"])
	}
	for _, name := range []string{"RABBITMQ_PASSWORD", "MONGODB_PASSWORD", "REDIS_PASSWORD"} {
		if v := "${" + name + ":-local}"; !bytes.Contains(content["config.yaml"], []byte(v)) ||
			!bytes.Contains(content["compose.yaml"], []byte(v)) {
			t.Errorf("%s is not in both files", v)
		}
	}
}

func noVariables(string) (string, bool) { return "", false }

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
