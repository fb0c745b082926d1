package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"
)

const root = "../.."

func TestRule(t *testing.T) {
	now := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	versions := []string{"v1.0.0", "v1.1.0", "v1.2.0-rc.1", "v1.2.0", "v1.3.0"}
	known := map[string]*module{
		"last": {Version: "v1.3.0", Versions: versions}, "old": {Version: "v1.0.0", Versions: versions},
		"fresh": {Version: "v1.1.0", Versions: versions}, "retracted": {Version: "v1.3.0", Retracted: []string{"broken"}},
		"deprecated": {Version: "v1.3.0",
			Deprecated: "use another"}, "pseudo": {Version: "v0.0.0-20260908200009-22c9c6c9d4da"},
	}
	released := map[string]time.Time{"v1.1.0": now.Add(-90 * 24 * time.Hour),
		"v1.2.0": now.Add(-grace + time.Hour), "v1.3.0": now}
	down := errors.New("the proxy is down")
	list := func(query string) (*module, error) {
		path, version, asked := strings.Cut(query, "@")
		m := known[path]
		if m == nil {
			return nil, down
		}
		m.Path = path
		if asked {
			return &module{Path: path, Version: version, Time: released[version]}, nil
		}
		return m, nil
	}
	got, err := behind(list, []string{"unknown", "last", "old", "fresh", "retracted", "deprecated", "pseudo"}, now)
	want := []string{
		"old v1.0.0 is behind: v1.1.0 was released 90 days ago; go get old@latest",
		"retracted v1.3.0 is retracted: broken", "deprecated is deprecated: use another",
	}
	if !reflect.DeepEqual(got, want) || !errors.Is(err, down) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestRuleCoversWhatIsRequiredAndGolangOrg(t *testing.T) {
	file, err := modfile.Parse("go.mod", []byte(`module m
require example.com/direct v1.0.0
require example.com/replaced v0.0.0
require (
	example.com/indirect v1.0.0 // indirect
	golang.org/x/crypto v0.1.0 // indirect
)
replace example.com/replaced => ../
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := covered(file); !reflect.DeepEqual(got, []string{"example.com/direct", "golang.org/x/crypto"}) {
		t.Errorf("covered: %q", got)
	}
}

// All modules of this repository use the same versions, so test results of one apply to the others.
func TestModulesUseTheSameVersions(t *testing.T) {
	dirs, err := modules(root)
	if err != nil || len(dirs) < 2 || dirs[0] != "." {
		t.Fatal(dirs, err)
	}
	type use struct{ dir, version string }
	first := map[string]use{}
	for _, dir := range dirs {
		file, err := readModule(filepath.Join(root, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range file.Require {
			if f, ok := first[r.Mod.Path]; !ok {
				first[r.Mod.Path] = use{dir, r.Mod.Version}
			} else if f.version != r.Mod.Version {
				t.Errorf("%s: %s in %s, %s in %s", r.Mod.Path, f.version, f.dir, r.Mod.Version, dir)
			}
		}
	}
}

// The check runs on a schedule.
func TestWorkflowChecksOnASchedule(t *testing.T) {
	for name, wants := range map[string][]string{
		".github/workflows/dependencies.yml": {"schedule:", "cron:", "run: make dependencies",
			"AF_TEST_REQUIRE: 1", "contents: read"},
		"Makefile": {"\ndependencies:\n\t@$(GO) run ./internal/dependencies\n"},
	} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q", name, want)
			}
		}
	}
}
