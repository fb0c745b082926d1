package templates_test

import (
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/afgen/afgen/runtime/config"
	"github.com/afgen/afgen/templates"
)

// files returns the files of a project by name.
func files(t *testing.T, backend templates.Backend) map[string]string {
	t.Helper()
	files, err := templates.Files(templates.Options{Module: "example.com/x", Backend: backend, Version: "v1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	var names []string
	for _, f := range files {
		content[f.Name] = string(f.Content)
		names = append(names, f.Name)
	}
	if !slices.IsSorted(names) {
		t.Errorf("not sorted: %q", names)
	}
	return content
}

func TestProjectFiles(t *testing.T) {
	common := []string{
		".dockerignore", ".gitattributes", ".github/workflows/ci.yaml", ".gitignore", "Dockerfile", "Makefile",
		"client/main.go", "go.mod", "main.go", "shop/shop.go", "shop/shop_test.go",
	}
	for backend, more := range map[templates.Backend][]string{
		templates.Embedded: nil,
		templates.Servers:  {"compose.yaml", "config.yaml"},
		templates.Auto:     {"compose.yaml", "config.yaml"},
	} {
		content := files(t, backend)
		want := slices.Sorted(slices.Values(slices.Concat(common, more)))
		if names := slices.Sorted(maps.Keys(content)); !slices.Equal(names, want) {
			t.Errorf("%s: files %q, want %q", backend, names, want)
		}
		mod := "module example.com/x\n\ngo 1.26\n\nrequire github.com/afgen/afgen v1.2.3\n\n" +
			"tool github.com/afgen/afgen/cmd/afgen\n"
		if content["go.mod"] != mod {
			t.Errorf("%s: go.mod:\n%s", backend, content["go.mod"])
		}
		if !strings.Contains(content["Makefile"], `test -n "$(BASE)"`) {
			t.Errorf("%s: make check doesn't require BASE", backend)
		}
		if !strings.Contains(content["main.go"], "//go:generate go tool afgen ./...\n") {
			t.Errorf("%s: main.go has no go:generate line", backend)
		}
		served := backend != templates.Embedded // without a configuration it has no dashboard, and stays small
		if strings.Contains(content["main.go"], "dashboard.Serve(app, cfg)") != served ||
			strings.Contains(content["main.go"], "/runtime/dashboard\"") != served {
			t.Errorf("%s: main.go serves a dashboard: want %t", backend, served)
		}
		imports := "github.com/afgen/afgen/runtime/backend/" + string(backend)
		for _, file := range []string{"main.go", "client/main.go"} {
			if !strings.Contains(content[file], `"`+imports+`"`) || strings.Count(content[file], "/runtime/backend/") != 1 {
				t.Errorf("%s: %s doesn't import only %s:\n%s", backend, file, imports, content[file])
			}
		}
	}
	if _, err := templates.Files(templates.Options{Module: "example.com/x", Backend: "sqlite"}); err == nil ||
		err.Error() != `backend "sqlite": want embedded, servers or auto` {
		t.Errorf("an unknown backend: %v", err)
	}
}

// What a Dockerfile copies exists, and its program runs without privileges in a directory that it can write to.
func TestDockerfile(t *testing.T) {
	for _, backend := range []templates.Backend{templates.Embedded, templates.Servers, templates.Auto} {
		content := files(t, backend)
		dockerfile := content["Dockerfile"]
		for _, m := range regexp.MustCompile(`(?m)^COPY ([a-z]\S*)`).FindAllStringSubmatch(dockerfile, -1) {
			if m[1] != "go.mod" && content[m[1]] == "" {
				t.Errorf("%s: copies %s, which doesn't exist", backend, m[1])
			}
		}
		for _, want := range []string{"FROM golang:1.26 AS build\n", ":nonroot\n",
			"--chown=nonroot:nonroot --chmod=700 /out/data /data\n", "\nWORKDIR /data\n", "CGO_ENABLED=0 go build",
			`ENTRYPOINT ["/server"`} {
			if !strings.Contains(dockerfile, want) {
				t.Errorf("%s: no %q in\n%s", backend, want, dockerfile)
			}
		}
		config := backend != templates.Embedded
		if strings.Contains(dockerfile, `"-config", "/etc/shop/config.yaml"`) != config ||
			strings.Contains(dockerfile, "COPY config.yaml /etc/shop/config.yaml\n") != config {
			t.Errorf("%s: configuration: want %t\n%s", backend, config, dockerfile)
		}
		if json := strings.Contains(dockerfile, "ENV LOG_FORMAT=json\n"); json != config {
			t.Errorf("%s: logs JSON: %t", backend, json)
		}
		if volume := strings.Contains(dockerfile, "VOLUME /data\n"); volume != (backend != templates.Servers) {
			t.Errorf("%s: volume: %t\n%s", backend, volume, dockerfile)
		}
		if strings.Contains(content[".dockerignore"], "config.yaml") {
			t.Errorf("%s: .dockerignore excludes config.yaml", backend)
		}
	}
}

// The workflow is valid YAML that runs the tests and both checks, with the history that afgen breaking needs.
func TestWorkflow(t *testing.T) {
	var workflow struct {
		On          map[string]any
		Permissions map[string]string
		Jobs        map[string]struct {
			Steps []struct {
				Uses, Run, If string
				With          map[string]any
			}
		}
	}
	if err := yaml.Unmarshal([]byte(files(t, templates.Auto)[".github/workflows/ci.yaml"]), &workflow); err != nil {
		t.Fatal(err)
	}
	if _, ok := workflow.On["pull_request"]; !ok || workflow.Permissions["contents"] != "read" {
		t.Errorf("on %v with permissions %v", workflow.On, workflow.Permissions)
	}
	var run []string
	depth := -1
	for _, s := range workflow.Jobs["test"].Steps {
		if n, ok := s.With["fetch-depth"].(int); ok {
			depth = n
		}
		if s.Run != "" {
			run = append(run, s.Run)
		}
		if strings.Contains(s.Run, "breaking") && s.If != "github.event_name == 'pull_request'" {
			t.Errorf("afgen breaking runs if %q", s.If)
		}
	}
	want := []string{"go vet ./...", "go test -race ./...", "go tool afgen check ./...",
		`go tool afgen breaking -against "git:origin/$GITHUB_BASE_REF" ./...`}
	if !slices.Equal(run, want) || depth != 0 {
		t.Errorf("runs %q with depth %d, want %q", run, depth, want)
	}
}

// config.yaml is valid with and without the lines for the servers, which match compose.yaml.
func TestConfigMatchesCompose(t *testing.T) {
	content := files(t, templates.Auto)
	cfg, err := config.Parse("config.yaml", []byte(content["config.yaml"]), noVariables)
	if backend, _ := cfg.Backend(); backend != config.BackendEmbedded || err != nil {
		t.Errorf("without servers: %q, %v", backend, err)
	}
	if cfg.Dashboard == nil || cfg.Dashboard.Listen != "127.0.0.1:8090" || cfg.Dashboard.Write {
		t.Errorf("without servers: dashboard %+v", cfg.Dashboard)
	}
	uncommented := regexp.MustCompile(`(?m)^# (  \w+: |\w+:$)`).ReplaceAllString(content["config.yaml"], "$1")
	checkCompose(t, uncommented, content["compose.yaml"])
	content = files(t, templates.Servers)
	checkCompose(t, content["config.yaml"], content["compose.yaml"])
}

// checkCompose checks that a configuration selects the servers of compose.yaml.
func checkCompose(t *testing.T, written, composed string) {
	t.Helper()
	cfg, err := config.Parse("config.yaml", []byte(written), noVariables)
	if backend, _ := cfg.Backend(); backend != config.BackendServers || err != nil {
		t.Fatalf("with servers: %q, %v\n%s", backend, err, written)
	}
	image, err := config.Parse("config.yaml", []byte(written), func(name string) (string, bool) {
		return "json", name == "LOG_FORMAT"
	})
	if err != nil || cfg.Logger.Format != config.FormatText || image.Logger.Format != config.FormatJSON ||
		cfg.Logger.Path != "" {
		t.Errorf("log: %+v, in the image %+v, %v", cfg.Logger, image.Logger, err)
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
	if err := yaml.Unmarshal([]byte(composed), &compose); err != nil {
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
		if v := "${" + name + ":-local}"; !strings.Contains(written, v) || !strings.Contains(composed, v) {
			t.Errorf("%s is not in both files", v)
		}
	}
}

func noVariables(string) (string, bool) { return "", false }
