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

const longInit = `Init writes a small project that runs: a service, a worker, a server, a client, a test, configuration for no
servers and for three, and what a repository needs. It overwrites nothing.`

func (c *command) initCommand() *cobra.Command {
	var module string
	cmd := &cobra.Command{
		Use: "init DIR", Short: "Write a new project that runs", Long: longInit,
		Example: "  afgen init -module example.com/shop shop", Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return errors.New("afgen init takes one folder, that of the new project, such as afgen init shop")
			}
			return c.init(args[0], module)
		},
	}
	cmd.Flags().StringVar(&module, "module", "", "the import `path` of its module (default example.com/ and the folder's name)")
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
		return fmt.Errorf("%q is no path of a module; name one by -module, such as example.com/shop", module)
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
	go test ./...       # the first builds take a minute or two: SQLite and the drivers are compiled
	go run .            # and in another terminal:
	go run ./client

config.yaml says how to run it over RabbitMQ, MongoDB and Redis; compose.yaml brings them up.
`, shellWord(dir))
	if o.Checkout != "" {
		fmt.Fprintf(c.stdout, "go.mod takes afgen from %s, which wrote this; remove its replace line for a release.\n", o.Checkout)
	}
	return nil
}

// shellWord is a directory as one types it after cd.
func shellWord(dir string) string {
	if runtime.GOOS == "windows" || !regexp.MustCompile(`[^A-Za-z0-9._/~+,:@%-]`).MatchString(dir) {
		return dir
	}
	return "'" + strings.ReplaceAll(dir, "'", `'\''`) + "'"
}

var notInPaths = regexp.MustCompile(`[^a-z0-9._-]+`)

// goVersion is the version of Go for a new go.mod: that which has built this command, without what is special about it.
func goVersion() string {
	if v := regexp.MustCompile(`^go(\d+\.\d+(\.\d+)?)`).FindStringSubmatch(runtime.Version()); v != nil {
		return v[1]
	}
	return "1.26"
}

// checkout is the directory of afgen's source that this command was built from; "" if it is not there, or not known. Only
// from there can a project have an afgen that is no release.
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

// released is a version that go.mod can require; "" for a build from a checkout.
func released(version string) string {
	if strings.HasPrefix(version, "v") && !strings.Contains(version, "+") && version != "v0.0.0" {
		return version
	}
	return ""
}
