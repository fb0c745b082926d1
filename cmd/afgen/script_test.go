package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/modfile"

	"github.com/afgen/afgen/internal/testkit"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"afgen": main})
}

// The scripts run in the module example.com/m, which uses this afgen. A script with a go.mod has its own module.
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Cmds:               map[string]func(*testscript.TestScript, bool, []string){"go": goCommand},
		Dir:                filepath.Join("testdata", "script"),
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{
				"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOSUMDB", "GONOSUMDB", "HOME", "PATH", "CGO_ENABLED",
			} {
				if v, ok := os.LookupEnv(name); ok {
					env.Setenv(name, v)
				}
			}
			env.Setenv("GOFLAGS", "-mod=mod")
			env.Setenv("AFGEN", root)
			env.Setenv("AFGEN_CACHE", filepath.Join(env.WorkDir, ".cache"))
			if _, err := os.Stat(filepath.Join(env.WorkDir, "go.mod")); err == nil {
				return nil
			}
			return writeModule(root, env.WorkDir)
		},
	})
}

// goCommand runs the go command in a script, with the build flags of this test so that it can use the build cache.
func goCommand(ts *testscript.TestScript, neg bool, args []string) {
	before := ts.Getenv("GOFLAGS")
	ts.Setenv("GOFLAGS", strings.TrimSpace(before+" "+testkit.GoFlags()))
	err := ts.Exec("go", args...)
	ts.Setenv("GOFLAGS", before)
	switch {
	case err != nil && !neg:
		ts.Fatalf("go %s: %v", strings.Join(args, " "), err)
	case err == nil && neg:
		ts.Fatalf("go %s succeeds", strings.Join(args, " "))
	}
}

// writeModule creates a module in dir with the same requirements as afgen.
func writeModule(root, dir string) error {
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return err
	}
	m, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		return err
	}
	for _, tool := range slices.Clone(m.Tool) {
		if err := m.DropTool(tool.Path); err != nil {
			return err
		}
	}
	ours := m.Module.Mod.Path
	if err := m.AddModuleStmt("example.com/m"); err != nil {
		return err
	}
	if err := m.AddRequire(ours, "v0.0.0"); err != nil {
		return err
	}
	if err := m.AddReplace(ours, "", root, ""); err != nil {
		return err
	}
	m.Cleanup()
	if data, err = m.Format(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), data, 0o644); err != nil {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o644)
}
