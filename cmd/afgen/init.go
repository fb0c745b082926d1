package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/internal/buildversion"
	"github.com/afgen/afgen/templates"
)

const longInit = `Init creates a small project that runs: a service, a worker, a server, a client, a test, a Makefile,
a Dockerfile, and a GitHub workflow that tests it and looks for breaking changes. It doesn't overwrite files.

The flag -backend selects what the programs open:

	auto      what config.yaml selects: one SQLite file, or RabbitMQ, MongoDB and Redis. Going from one to the other
	          doesn't change the code; programs link all drivers. The server serves a dashboard, and has 33 MB
	embedded  one SQLite file, without config.yaml and dashboard; programs link no other driver (11 MB)
	servers   RabbitMQ, MongoDB and Redis, without SQLite. The server serves a dashboard (28 MB)

Without installing afgen:

	go run github.com/afgen/afgen/cmd/afgen@latest init shop

In a clone of afgen's repository:

	go run ./cmd/afgen init ../shop`

func (c *command) initCommand() *cobra.Command {
	var module, backend string
	cmd := &cobra.Command{
		Use: "init DIR", Short: "Create a new project", Long: longInit,
		Example: "  afgen init -module example.com/shop shop", Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return errors.New("afgen init takes one directory, such as afgen init shop")
			}
			return c.init(args[0], module, templates.Backend(backend))
		},
	}
	cmd.Flags().StringVar(&module, "module", "", "module `path` (default example.com/ and the name of the directory)")
	cmd.Flags().StringVar(&backend, "backend", string(templates.Auto), "`kind` of backend: auto, embedded or servers")
	_ = cmd.RegisterFlagCompletionFunc("backend", completeBackend) // fails only for unknown flags
	return cmd
}

var modulePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~/-]*[A-Za-z0-9]$|^[A-Za-z0-9]$`)

func (c *command) init(dir, module string, backend templates.Backend) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if module == "" {
		module = "example.com/" + strings.Trim(notInPaths.ReplaceAllString(strings.ToLower(filepath.Base(abs)), "-"), "-")
	}
	if !modulePattern.MatchString(module) || strings.Contains(module, "//") {
		return fmt.Errorf("%q is not a module path; set one with -module, such as -module example.com/shop", module)
	}
	if backend == "" {
		return errors.New("-backend is empty: want auto, embedded or servers")
	}
	o := templates.Options{Module: module, Backend: backend, Version: released(buildversion.Version())}
	if o.Version == "" {
		o.Checkout = checkout()
	}
	files, err := templates.Write(dir, o)
	if err != nil {
		return err
	}
	for _, f := range files {
		fmt.Fprintln(c.stdout, "wrote", filepath.ToSlash(filepath.Join(dir, filepath.FromSlash(f))))
	}
	fmt.Fprintf(c.stdout, "\nNext:\n\n\tcd %s\n%s", shellWord(dir), nextSteps[backend])
	if o.Checkout != "" {
		fmt.Fprintf(c.stdout, "go.mod uses the source of afgen in %s; remove its replace line to use a release.\n",
			o.Checkout)
	}
	return nil
}

// nextSteps are the commands for a new project.
var nextSteps = map[templates.Backend]string{
	templates.Auto: `	go mod tidy
	go generate ./...
	go test ./...       # the first build takes a minute or two; it compiles SQLite and drivers
	go run .            # with a dashboard at http://127.0.0.1:8090; then in another terminal:
	go run ./client

See config.yaml to run it over RabbitMQ, MongoDB and Redis, and compose.yaml to start them.
`,
	templates.Embedded: `	go mod tidy
	go generate ./...
	go test ./...
	go run .            # the first build takes a minute; it compiles SQLite. Then in another terminal:
	go run ./client

The programs share the file .af/af.db. The command af serves its dashboard: af ui (docs/af.md).
`,
	templates.Servers: `	go mod tidy
	go generate ./...
	go test ./...       # needs no servers
	docker compose up -d --wait
	go run .            # with a dashboard at http://127.0.0.1:8090; then in another terminal:
	go run ./client

config.yaml has the addresses of the servers, which compose.yaml starts.
`,
}

// shellWord returns a directory quoted for a shell if necessary.
func shellWord(dir string) string {
	if runtime.GOOS == "windows" || !regexp.MustCompile(`[^A-Za-z0-9._/~+,:@%-]`).MatchString(dir) {
		return dir
	}
	return "'" + strings.ReplaceAll(dir, "'", `'\''`) + "'"
}

var notInPaths = regexp.MustCompile(`[^a-z0-9._-]+`)

// checkout returns the directory of the source that this command was built from, or "" if it is unknown or gone. A
// project that uses an unreleased afgen needs it.
func checkout() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) { // built with -trimpath
		return ""
	}
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || !strings.HasPrefix(string(mod), "module "+buildversion.Module) {
		return ""
	}
	return root
}

// released returns version if go.mod can require it, or "" for a build from a checkout.
func released(version string) string {
	if strings.HasPrefix(version, "v") && !strings.Contains(version, "+") && version != "v0.0.0" {
		return version
	}
	return ""
}
