package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The module and the benchmark of a tiny repository. The benchmark reports what it was built against.
const (
	rootMod  = "module example.com/m\n\ngo 1.26.0\n"
	benchMod = "module example.com/m/bench\n\ngo 1.26.0\n\nrequire example.com/m v0.0.0\n\n" +
		"replace example.com/m => ../\n"
	version = "package m\n\nconst NAME = 1\n"
	measure = `package bench

import (
	"testing"

	"example.com/m"
)

func BenchmarkVersion(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
		}
		b.ReportMetric(m.NAME, "version")
	})
}
`
)

// A repository is a git repository in a temporary directory.
type repository struct{ dir string }

// newRepository returns a repository with one commit, whose root module has the constant Version = 1.
func newRepository(t *testing.T) repository {
	t.Helper()
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	t.Setenv("GOWORK", "off")
	r := repository{t.TempDir()}
	r.git(t, "init", "--quiet")
	r.write(t, "go.mod", rootMod)
	r.write(t, "bench/go.mod", benchMod)
	r.writeCode(t, "Version", "1")
	r.commit(t)
	return r
}

// writeCode writes the root module with a constant, and the benchmark that reports it.
func (r repository) writeCode(t *testing.T, name, value string) {
	t.Helper()
	r.write(t, "m.go", strings.NewReplacer("NAME", name, "1", value).Replace(version))
	r.write(t, "bench/bench_test.go", strings.ReplaceAll(measure, "NAME", name))
}

func (r repository) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (r repository) commit(t *testing.T) {
	t.Helper()
	r.git(t, "add", ".")
	r.git(t, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "--message", "a commit")
}

func (r repository) git(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// compare runs a comparison in the repository, checks that it leaves nothing, and returns the report.
func (r repository) compare(ctx context.Context, t *testing.T, log io.Writer, args ...string) (string, error) {
	t.Helper()
	o, err := parseOptions(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	c := &comparison{options: o, dir: filepath.Join(r.dir, "bench"), tools: tools, out: &out, log: log}
	err = compare(ctx, c)
	if _, e := os.Stat(c.temp); !os.IsNotExist(e) {
		t.Errorf("%s is left: %v", c.temp, e)
	}
	if list := r.git(t, "worktree", "list"); strings.Count(list, "\n") != 1 {
		t.Errorf("worktrees are left:\n%s", list)
	}
	return out.String(), err
}

func TestCompareHeadWithWorkingTree(t *testing.T) {
	r, keep := newRepository(t), t.TempDir()
	r.writeCode(t, "Version", "2")
	var log strings.Builder
	report, err := r.compare(t.Context(), t, &log, "-count", "2", "-benchtime", "10x", "-keep", keep)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"before: HEAD, ", "after:  the working tree, with changes since ", "Version/memory", "load average",
	} {
		if !strings.Contains(report, want) {
			t.Errorf("the report has no %q:\n%s", want, report)
		}
	}
	for _, want := range []string{"round 1/2: before ", "round 2/2: after "} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, &log)
		}
	}
	for file, want := range map[string]string{"before.txt": " 1.000 version", "after.txt": " 2.000 version"} {
		samples, err := os.ReadFile(filepath.Join(keep, file))
		if err != nil {
			t.Error(err)
		}
		if strings.Count(string(samples), want) != 2 {
			t.Errorf("%s: want %q twice in\n%s", file, want, samples)
		}
	}
}

func TestCompareBuildTags(t *testing.T) {
	r, keep := newRepository(t), t.TempDir()
	r.write(t, "m.go", "//go:build !x\n\n"+strings.Replace(version, "NAME", "Version", 1))
	r.write(t, "x.go", "//go:build x\n\n"+strings.NewReplacer("NAME", "Version", "1", "3").Replace(version))
	r.commit(t)
	report, err := r.compare(t.Context(), t, io.Discard,
		"-before", "HEAD", "-after", "HEAD", "-after-tags", "x,y", "-count", "1", "-benchtime", "1x", "-keep", keep)
	if err != nil {
		t.Fatal(err)
	}
	if want := "(a commit), with -tags x,y\n"; strings.Count(report, want) != 1 {
		t.Errorf("the report has no %q:\n%s", want, report)
	}
	for file, want := range map[string]string{"before.txt": " 1.000 version", "after.txt": " 3.000 version"} {
		if samples, err := os.ReadFile(filepath.Join(keep, file)); err != nil || !strings.Contains(string(samples), want) {
			t.Errorf("%s: %v, want %q in\n%s", file, err, want, samples)
		}
	}
}

func TestCompareRevisionsWithDifferentAPI(t *testing.T) {
	r := newRepository(t)
	r.writeCode(t, "Renamed", "2")
	r.commit(t)
	args := []string{"-before", "HEAD~1", "-after", "HEAD", "-count", "1", "-benchtime", "1x"}
	_, err := r.compare(t.Context(), t, io.Discard, args...)
	for _, want := range []string{"don't build against before: HEAD~1, ", "undefined: m.Renamed", "-own"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in the error: %v", want, err)
		}
	}
	if _, err := r.compare(t.Context(), t, io.Discard, append(args, "-own")...); err != nil {
		t.Errorf("with -own: %v", err)
	}
}

func TestCompareErrors(t *testing.T) {
	r := newRepository(t)
	for args, want := range map[string]string{
		"-before nonsense":                `-before: git knows no revision "nonsense"`,
		"-bench Version/no -benchtime 1x": "no benchmark matches",
	} {
		_, err := r.compare(t.Context(), t, io.Discard, strings.Fields(args)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// A canceller calls cancel when text is written.
type canceller struct {
	text   string
	cancel context.CancelFunc
}

// Write implements [io.Writer].
func (c canceller) Write(p []byte) (int, error) {
	if strings.Contains(string(p), c.text) {
		c.cancel()
	}
	return len(p), nil
}

func TestInterruptedComparisonCleansUp(t *testing.T) {
	r := newRepository(t)
	for _, when := range []string{"building after", "round 1/"} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := r.compare(ctx, t, canceller{when, cancel}, "-benchtime", "1x")
		if err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("interrupted at %q: %v", when, err)
		}
	}
}
