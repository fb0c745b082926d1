package buildtag

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/build"
	"go/build/constraint"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// A System is a platform with its build tags, for which build constraints are evaluated.
type System struct {
	goos, goarch string
	cgo          bool
	tags         []string // sorted
	minor        int      // of the Go version; go1.1 to go1.minor are set
	goflags      string   // flags that all systems support
}

// String identifies a system among those of one run.
func (s System) String() string {
	return fmt.Sprintf("%s/%s cgo=%v tags=%s", s.goos, s.goarch, s.cgo, strings.Join(s.tags, ","))
}

// platforms are the platforms that go tool dist list prints, common ones first.
var platforms = strings.Fields(`
linux/amd64 darwin/arm64 windows/amd64 linux/arm64 darwin/amd64 linux/386 linux/arm freebsd/amd64 openbsd/amd64
netbsd/amd64 dragonfly/amd64 solaris/amd64 illumos/amd64 aix/ppc64 plan9/amd64 android/arm64 ios/arm64 js/wasm
wasip1/wasm windows/arm64 windows/386 linux/riscv64 linux/loong64 linux/ppc64 linux/ppc64le linux/s390x linux/mips
linux/mipsle linux/mips64 linux/mips64le android/386 android/amd64 android/arm freebsd/386 freebsd/arm freebsd/arm64
freebsd/riscv64 ios/amd64 netbsd/386 netbsd/arm netbsd/arm64 openbsd/386 openbsd/arm openbsd/arm64 openbsd/ppc64
openbsd/riscv64 plan9/386 plan9/arm`)

// on returns the system with another platform.
func (s System) on(platform string) System {
	s.goos, s.goarch, _ = strings.Cut(platform, "/")
	return s
}

var (
	// Operating systems that satisfy the tag of another.
	also   = map[string]string{"android": "linux", "illumos": "solaris", "ios": "darwin"}
	unixes = []string{
		"aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "linux", "netbsd", "openbsd", "solaris",
	}
)

// has reports whether a tag is satisfied according to package go/build.
func (s System) has(tag string) bool {
	switch {
	case tag == s.goos, tag == s.goarch, tag == also[s.goos], tag == "gc":
		return true
	case tag == "unix":
		return slices.Contains(unixes, s.goos)
	case tag == "cgo":
		return s.cgo
	}
	if minor, ok := release(tag); ok && minor <= s.minor {
		return true
	}
	return slices.Contains(s.tags, tag)
}

// Satisfies reports whether the system satisfies a constraint.
func (s System) Satisfies(x constraint.Expr) bool { return x == nil || x.Eval(s.has) }

// release returns n for a tag go1.n.
func release(tag string) (minor int, ok bool) {
	text, ok := strings.CutPrefix(tag, "go1.")
	minor, err := strconv.Atoi(text)
	return minor, ok && err == nil
}

// maxTags is the maximum number of custom tags in an expression. All of their combinations are tried.
const maxTags = 8

// variants calls yield with all combinations of platforms, cgo and the free tags, beginning with s itself, until yield
// returns false.
func (s System) variants(platforms, free []string, yield func(System) bool) {
	first := slices.Concat([]string{s.goos + "/" + s.goarch}, platforms)
	for i, p := range first {
		for j := range 2 {
			for mask := range 1 << len(free) {
				v := s.on(p)
				v.cgo = (j == 1) != (s.cgo && i == 0) // C cross-compilers are rare
				v.tags = slices.Clone(s.tags)
				for bit, tag := range free {
					if mask&(1<<bit) == 0 {
						continue
					}
					if at, found := slices.BinarySearch(v.tags, tag); found {
						v.tags = slices.Delete(v.tags, at, at+1)
					} else {
						v.tags = slices.Insert(v.tags, at, tag)
					}
				}
				if !yield(v) {
					return
				}
			}
		}
	}
}

// Nearest returns the system most similar to s that satisfies an expression. It reports false if there is none. It
// never sets the tag ignore, which excludes files from every build.
func (s System) Nearest(x constraint.Expr) (near System, ok bool) {
	free := slices.DeleteFunc(tagsOf(x), func(tag string) bool {
		_, isRelease := release(tag)
		return isRelease || decided[tag] || tag == "ignore" || isGOOS(tag) || isGOARCH(tag)
	})
	if len(free) > maxTags {
		return s, false
	}
	s.variants(platforms, free, func(v System) bool {
		if v.Satisfies(x) {
			near, ok = v, true
		}
		return !ok
	})
	return near, ok
}

// decided are the tags that depend on the platform, cgo or the compiler.
var decided = map[string]bool{"unix": true, "cgo": true, "gc": true, "gccgo": true}

// Implies reports whether each system that satisfies a also satisfies b. A nil constraint is always satisfied. Implies
// reports false if the expressions have too many tags.
func Implies(a, b constraint.Expr) bool {
	if b == nil || a != nil && a.String() == b.String() {
		return true
	}
	free := slices.DeleteFunc(tagsOf(a, b), func(tag string) bool {
		return decided[tag] || isGOOS(tag) || isGOARCH(tag)
	})
	if len(free) > maxTags {
		return false
	}
	holds := true
	System{}.on(platforms[0]).variants(platforms[1:], free, func(v System) bool {
		holds = !v.Satisfies(a) || v.Satisfies(b)
		return holds
	})
	return holds
}

// Current returns the system that the go command compiles for in a directory. It runs go env with the environment
// environ, or that of the process if nil. tags is the value of the flag -tags, or "".
func Current(ctx context.Context, dir string, environ []string, tags string) (System, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "-json", "GOOS", "GOARCH", "CGO_ENABLED", "GOVERSION", "GOFLAGS")
	cmd.Dir, cmd.Env = dir, environ
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return System{}, fmt.Errorf("go env: %w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	var env struct {
		GOOS, GOARCH, GOVERSION, GOFLAGS string

		CgoEnabled string `json:"CGO_ENABLED"`
	}
	if err == nil {
		err = json.Unmarshal(out, &env)
	}
	if err != nil {
		return System{}, fmt.Errorf("go env: %w", err)
	}
	s := System{goos: env.GOOS, goarch: env.GOARCH, cgo: env.CgoEnabled == "1"}
	version, _, _ := strings.Cut(strings.TrimPrefix(env.GOVERSION, "go1."), ".")
	digits := strings.IndexFunc(version+" ", func(r rune) bool { return r < '0' || r > '9' })
	if s.minor, err = strconv.Atoi(version[:digits]); err != nil { // a development version
		s.minor = len(build.Default.ReleaseTags)
	}
	given := tags != ""
	for flag := range strings.FieldsSeq(env.GOFLAGS) {
		if value, ok := strings.CutPrefix(strings.TrimLeft(flag, "-"), "tags="); ok && !given {
			tags = value
		}
	}
	s.tags = slices.Sorted(strings.FieldsFuncSeq(tags, func(r rune) bool { return r == ',' || r == ' ' }))
	s.tags = slices.Compact(s.tags)
	s.goflags = portable(env.GOFLAGS)
	return s, nil
}

// Tags returns the value of the flag -tags for the system.
func (s System) Tags() string { return strings.Join(s.tags, ",") }

// Env returns environ with the variables that make the go command compile for the system. A nil environ means that of
// the process.
func (s System) Env(environ []string) []string {
	if environ == nil {
		environ = os.Environ()
	}
	cgo := "0"
	if s.cgo {
		cgo = "1"
	}
	return append(slices.Clip(environ), "GOOS="+s.goos, "GOARCH="+s.goarch, "CGO_ENABLED="+cgo, "GOFLAGS="+s.goflags)
}

// portable returns goflags without the race detector and sanitizers, which other systems may not support.
func portable(goflags string) string {
	flags := slices.DeleteFunc(strings.Fields(goflags), func(flag string) bool {
		name, _, _ := strings.Cut(strings.TrimLeft(flag, "-"), "=")
		return name == "race" || name == "msan" || name == "asan"
	})
	return strings.Join(flags, " ")
}
