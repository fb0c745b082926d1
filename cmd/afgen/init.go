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

	"github.com/afgen/afgen/templates"
)

const longInit = `Init creates a small project that runs: a service, a worker, a server, a client, a test, a Makefile,
and configuration for an embedded database or for RabbitMQ, MongoDB and Redis. It doesn't overwrite files.

Without installing afgen:

	go run github.com/afgen/afgen/cmd/afgen@latest init shop

In a clone of afgen's repository:

	go run ./cmd/afgen init ../shop`

func (c *command) initCommand() *cobra.Command {
	var module string
	cmd := &cobra.Command{
		Use: "init DIR", Short: "Create a new project", Long: longInit,
		Example: "  afgen init -module example.com/shop shop", Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return errors.New("afgen init takes one directory, such as afgen init shop")
			}
			return c.init(args[0], module)
		},
	}
	cmd.Flags().StringVar(&module, "module", "", "module `path` (default example.com/ and the name of the directory)")
	return cmd
}

var modulePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~/-]*[A-Za-z0-9]$|^[A-Za-z0-9]$`)

func (c *command) init(dir, module string) error {
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
	o := templates.Options{Module: module, Go: goVersion(), Version: released(version())}
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
	fmt.Fprintf(c.stdout, `
Next:

	cd %s
	go mod tidy
	go generate ./...
	go test ./...       # the first build takes a minute or two; it compiles SQLite and drivers
	go run .            # then in another terminal:
	go run ./client

See config.yaml to run it over RabbitMQ, MongoDB and Redis, and compose.yaml to start them.
`, shellWord(dir))
	if o.Checkout != "" {
		fmt.Fprintf(c.stdout, "go.mod uses the source of afgen in %s; remove its replace line to use a release.\n",
			o.Checkout)
	}
	return nil
}

// shellWord returns a directory quoted for a shell if necessary.
func shellWord(dir string) string {
	if runtime.GOOS == "windows" || !regexp.MustCompile(`[^A-Za-z0-9._/~+,:@%-]`).MatchString(dir) {
		return dir
	}
	return "'" + strings.ReplaceAll(dir, "'", `'\''`) + "'"
}

var notInPaths = regexp.MustCompile(`[^a-z0-9._-]+`)

// goVersion returns the Go version for a new go.mod: that of this command, without suffixes.
func goVersion() string {
	if v := regexp.MustCompile(`^go(\d+\.\d+(\.\d+)?)`).FindStringSubmatch(runtime.Version()); v != nil {
		return v[1]
	}
	return "1.26"
}

// checkout returns the directory of the source that this command was built from, or "" if it is unknown or gone. A
// project that uses an unreleased afgen needs it.
func checkout() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) { // built with -trimpath
		return ""
	}
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || !strings.HasPrefix(string(mod), "module "+modulePath) {
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
