package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// packages returns the paths of the root module's packages that have tests.
func packages(t *testing.T) []string {
	t.Helper()
	out, err := listed()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range strings.Fields(string(out)) {
		all = append(all, strings.TrimPrefix(p, module))
	}
	return all
}

// listed is the output of go list, which takes a second of processor time.
var listed = sync.OnceValues(func() ([]byte, error) {
	const tested = "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}"
	return exec.Command("go", "list", "-f", tested, "../../...").Output()
})

func steps(name string) []step {
	var all []step
	for _, p := range tiers()[name].phases {
		for _, l := range p {
			all = append(all, l...)
		}
	}
	return append(all, tiers()[name].filler...)
}

// selected reports whether a step of the tier selects the tests of a package that a flag -skip leaves out.
func selected(tier, pkg, flag string) bool {
	run := "-run=" + strings.TrimPrefix(flag, "-skip=")
	return slices.ContainsFunc(steps(tier), func(s step) bool {
		return s.packages != nil && s.packages(pkg) && slices.Contains(s.flags, run)
	})
}

// make test-all covers every package and includes all of make test.
func TestAllCoversEachPackage(t *testing.T) {
	for _, p := range packages(t) {
		covers := func(name string) bool {
			return slices.ContainsFunc(steps(name), func(s step) bool {
				whole := !slices.ContainsFunc(s.flags, func(f string) bool {
					return strings.HasPrefix(f, "-run=") || strings.HasPrefix(f, "-skip=") && !selected(name, p, f)
				})
				return s.packages != nil && s.packages(p) && whole
			})
		}
		if !covers("all") {
			t.Errorf("make test-all does not run the tests of %s", p)
		}
	}
}

// make test-all runs at full length what packages omit with -short or with the race detector.
func TestAllRunsWhatShortLeavesOut(t *testing.T) {
	shortens := regexp.MustCompile(`testing\.Short\(\)|testkit\.(Long|Fewer)\(|(?m:^//go:build !race|^\[!?short\])`)
	all, root := packages(t), filepath.FromSlash("../..")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, "_test.go") && !strings.HasSuffix(file, ".txt") {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil || !shortens.Match(text) {
			return err
		}
		path, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		for path != "." && !slices.Contains(all, filepath.ToSlash(path)) {
			path = filepath.Dir(path) // testdata belongs to the package above
		}
		if strings.HasSuffix(file, "_test.go") && shortened(filepath.ToSlash(path)) {
			if pattern, err := fullLength(filepath.Dir(file)); err != nil || pattern == "" {
				t.Errorf("%s does less with -short, and no test of its package runs at full length: %v", file, err)
			}
		}
		if p := filepath.ToSlash(path); p != "." && light(p) && !shortened(p) && !sequential(p) {
			t.Errorf("%s does less with -short, and make test-all does not run %s at full length", file, p)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Steps name existing packages.
func TestStepsMatchPackages(t *testing.T) {
	all := packages(t)
	for name := range tiers() {
		for _, s := range steps(name) {
			if s.packages != nil && !slices.ContainsFunc(all, s.packages) {
				t.Errorf("%s: step %q matches no package with tests", name, s.name)
			}
		}
	}
}

// A step that selects tests selects at least one in each of its packages.
func TestStepsMatchTests(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for name := range tiers() {
		for _, s := range steps(name) {
			i := slices.IndexFunc(s.flags, func(f string) bool { return strings.HasPrefix(f, "-run=") && f != "-run=^$" })
			if i < 0 {
				continue
			}
			pattern := regexp.MustCompile(strings.TrimPrefix(s.flags[i], "-run="))
			for _, p := range packages(t) {
				if !s.packages(p) {
					continue
				}
				files, err := filepath.Glob(filepath.Join("../..", p, "*_test.go"))
				if err != nil {
					t.Fatal(err)
				}
				matched := false
				for _, file := range files {
					text, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					for _, m := range declared.FindAllSubmatch(text, -1) {
						matched = matched || pattern.Match(m[1])
					}
				}
				if !matched {
					t.Errorf("%s: step %q selects %s, which matches no test of %s", name, s.name, pattern, p)
				}
			}
		}
	}
}

// A step with the race detector compiles SQLite without it, and names packages before flags of the tests.
func TestArgsOfTests(t *testing.T) {
	s := step{name: "s", race: true, packages: func(p string) bool { return p == "gen" }, flags: []string{"-short"}}
	for _, c := range []struct {
		race bool
		want string
	}{
		{true, "go test -json -vet=off -timeout=60m -toolexec=env " + compilerGC + " -race " + uninstrumented + " " + module +
			"gen -short -run=X"},
		{false, "go test -json -vet=off -timeout=60m -toolexec=env " + compilerGC + " " + module + "gen -short -run=X"},
	} {
		r := &runner{goCmd: "go", packages: []string{"gen", "runtime"}, flags: []string{"-run=X"}, race: c.race}
		args, env, err := r.testArgs(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(args, " "); got != c.want {
			t.Errorf("with race detector %v: %s, want %s", c.race, got, c.want)
		}
		if cgo := slices.Contains(env, "CGO_ENABLED=1"); cgo != c.race {
			t.Errorf("with race detector %v: CGO_ENABLED=1 is set: %v", c.race, cgo)
		}
	}
}

// Steps at a lower priority run the same command.
func TestPriority(t *testing.T) {
	for name, s := range map[string]step{"normal": {}, "nice": {nice: true}, "idle": {idle: true}} {
		args := append(priority(s), "echo", "done")
		out, err := exec.Command(args[0], args[1:]...).Output()
		if err != nil || string(out) != "done\n" {
			t.Errorf("%s: %q prints %q, %v", name, args, out, err)
		}
		if lower := len(args) > 2; lower != (name != "normal") {
			t.Errorf("%s: the command is %q", name, args)
		}
	}
}

// Only idle steps run next to the tests that measure durations over the servers.
func TestTimedTestsRunAlone(t *testing.T) {
	all := tiers()["all"]
	isTimed := func(s step) bool { return slices.Contains(s.flags, "-skip="+untimed) }
	isBusy := func(s step) bool { return !s.idle }
	found := false
	for _, p := range all.phases {
		i := slices.IndexFunc(p, func(l lane) bool { return slices.ContainsFunc(l, isTimed) })
		if i < 0 {
			continue
		}
		found = true
		for _, l := range slices.Concat(p[:i], p[i+1:], []lane{all.filler}) {
			if j := slices.IndexFunc(l, isBusy); j >= 0 {
				t.Errorf("step %q runs at the same time and is not idle", l[j].name)
			}
		}
	}
	if !found {
		t.Error("make test-all has no such step")
	}
}

// Each fuzz target of the repository runs in make test-long.
func TestFuzzTargets(t *testing.T) {
	var found, want []string
	target := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(f \*testing\.F\)`)
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(root, path)
		for _, m := range target.FindAllStringSubmatch(string(text), -1) {
			found = append(found, filepath.ToSlash(filepath.Dir(path))+" "+m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps("long") {
		pkg, ok := strings.CutPrefix(s.name, "fuzz ")
		for _, f := range s.flags {
			if name, isFuzz := strings.CutPrefix(f, "-fuzz=^"); ok && isFuzz {
				want = append(want, pkg+" "+strings.TrimSuffix(name, "$"))
			}
		}
	}
	slices.Sort(found)
	slices.Sort(want)
	if !slices.Equal(found, want) {
		t.Errorf("fuzz targets are\n%v\nand make test-long runs\n%v", found, want)
	}
}

// events returns the output of go test -json for one test of package p.
func events(test, action, output string) string {
	var b strings.Builder
	for line := range strings.Lines(output) {
		fmt.Fprintf(&b, `{"Action":"output","Package":"%sp","Test":"%s","Output":%q}`+"\n", module, test, line)
	}
	fmt.Fprintf(&b, `{"Action":"%s","Package":"%sp","Test":"%s","Elapsed":1.5}`+"\n", action, module, test)
	return b.String()
}

func TestReport(t *testing.T) {
	pass := events("TestA", "pass", "=== RUN   TestA\n")
	for _, c := range []struct {
		name, events string
		ok, require  bool // the result and argument of finish
		wants, lacks []string
	}{
		{name: "pass", events: pass + events("", "pass", "ok\n"), ok: true, require: true,
			wants: []string{"ok      1.5 s  p", "\n1 passed, 0 failed\n"}},
		{name: "fail", events: pass + events("TestB", "fail", "=== RUN   TestB\n    b_test.go:1: wrong\n"),
			wants: []string{"FAIL p: TestB", "wrong", "1 passed, 1 failed\n"}},
		{name: "skip", events: events("TestC", "skip", "    c_test.go:1: NOT TESTED: no server\n--- SKIP: TestC (0.00s)\n"),
			ok:    true,
			wants: []string{"OK, BUT NOT TESTED: p.TestC: NOT TESTED: no server\n"}},
		{name: "skip_required", events: events("TestC", "skip", "    c_test.go:1: no server\n"), require: true,
			wants: []string{"FAILED: NOT TESTED", "p.TestC: no server"}},
		{name: "higher_tier", events: events("TestD", "skip",
			"    d_test.go:7: long: runs staticcheck\n--- SKIP: TestD (0.00s)\n"), ok: true,
			require: true, wants: []string{"left to make test-all: 1 long tests"}, lacks: []string{"NOT TESTED"}},
		{name: "build", events: `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: syntax error\n"}` + "\n" +
			`{"ImportPath":"p","Action":"build-fail"}` + "\n", ok: true, wants: []string{"FAIL p\np.go:1: syntax error\n"}},
		{name: "no_result",
			events: `{"Package":"` + module + `p","Test":"TestE","Action":"output","Output":"lost\n"}` + "\n" +
				pass + events("", "fail", "FAIL\n"), ok: true,
			wants: []string{"FAIL p (step) after 1.5 s\nlost\nFAIL\n"}},
		{name: "no_event", events: "go: go.mod file not found\n", ok: true,
			wants: []string{"FAIL step: go: go.mod file not found\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out)
			if err := r.read(strings.NewReader(c.events), "step"); err != nil {
				t.Fatal(err)
			}
			if ok := r.finish(c.require); ok != c.ok {
				t.Errorf("finish = %v, want %v", ok, c.ok)
			}
			for _, want := range c.wants {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, &out)
				}
			}
			for _, lack := range c.lacks {
				if strings.Contains(out.String(), lack) {
					t.Errorf("%q in\n%s", lack, &out)
				}
			}
		})
	}
}

func TestRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	begin := fmt.Sprintf(recordBegin, "long")
	r := &runner{tier: "long", report: newReport(nil),
		results: []result{{name: "chaos"}, {name: "soak", err: os.ErrDeadlineExceeded}}}
	if err := os.WriteFile(file, []byte("a\n"+begin+"old\n"+recordEnd+"b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.record(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a\n" + begin, "| chaos | 0s | 0s | passed |\n",
		"| soak | 0s | 0s | **failed** |\n", recordEnd + "b\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "old") {
		t.Error("the old result is still there")
	}
}
