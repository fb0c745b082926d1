package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// rootModule is the path of the root module.
const rootModule = "github.com/afgen/afgen"

// nested are the directories of the nested modules that get a version. The others, such as bench, never do.
var nested = []string{"metrics", "otel"}

// checkModules returns an error if users could not use the modules in a directory as a version: if a nested one requires
// an older version of the root, or if a module depends on a replace directive or a workspace that users don't have. If
// version is "", it is the latest tag of the root module.
func checkModules(ctx context.Context, root, version string) error {
	if version == "" {
		latest, err := output(ctx, root, nil, "git", "describe", "--tags", "--abbrev=0", "--match", "v*")
		if err != nil {
			return fmt.Errorf("no version is given, and none is tagged: %w", err)
		}
		version = latest
	}
	if !semver.IsValid(version) {
		return fmt.Errorf("version %q is not like v1.2.3", version)
	}
	var errs []error
	if _, err := os.Stat(filepath.Join(root, "go.work")); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, errors.New("go.work must not be released"))
	}
	file, err := readModule(root)
	if err != nil {
		return err
	}
	if len(file.Replace) > 0 {
		errs = append(errs, errors.New("go.mod has a replace directive: go install refuses the commands"))
	}
	for _, dir := range nested {
		file, err := readModule(filepath.Join(root, dir))
		if err != nil {
			return err
		}
		errs = append(errs, checkNested(file, dir, version))
	}
	return errors.Join(errs...)
}

// checkNested checks the go.mod of a nested module.
func checkNested(file *modfile.File, dir, version string) error {
	if want := path.Join(rootModule, dir); file.Module.Mod.Path != want {
		return fmt.Errorf("%s/go.mod is of %s, want %s", dir, file.Module.Mod.Path, want)
	}
	for _, r := range file.Replace {
		if r.Old.Path != rootModule {
			return fmt.Errorf("%s/go.mod replaces %s, which has no effect for users", dir, r.Old.Path)
		}
	}
	required := "no version"
	for _, r := range file.Require {
		if r.Mod.Path == rootModule {
			required = r.Mod.Version
		}
	}
	if !semver.IsValid(required) || semver.Compare(required, version) < 0 {
		return fmt.Errorf("%s/go.mod requires %s of %s, older than %s: (cd %s && go mod edit -require=%s@%s)", dir, required,
			rootModule, version, dir, rootModule, version)
	}
	return nil
}

func readModule(dir string) (*modfile.File, error) {
	name := filepath.Join(dir, "go.mod")
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return modfile.Parse(name, text, nil)
}
