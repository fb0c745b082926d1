package buildtag

import (
	"go/build"
	"go/build/constraint"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Of must agree with package go/build on all systems.
func TestConstraintsMatchGoBuild(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	one := func(of ...string) string { return of[random.IntN(len(of))] }
	word := func() string {
		return one("linux", "windows", "darwin", "ios", "android", "solaris", "illumos", "amd64", "arm", "arm64", "wasm",
			"unix", "cgo", "gc", "gccgo",
			"go1.18", "go1.99", "special", "other", "ignore", "zos", "test", "x")
	}
	var expr func(depth int) string
	expr = func(depth int) string {
		switch random.IntN(5 - depth) {
		case 0:
			return "!" + word()
		case 1, 2:
			return word()
		}
		return "(" + expr(depth+1) + ")" + one("&&", "||") + expr(depth+1)
	}
	for range 3000 {
		name := one("x", "x_"+word(), word(), "x_"+word()+"_"+word(), word()+"_"+word(), "_"+word()) +
			one("", "_test", ".y") + ".go"
		src := one("", "", "//go:build "+expr(0)+"\n\n", "//go:build "+expr(0)+"\n", "// Text.\n\n//go:build "+expr(0)+"\n\n",
			"// +build "+word()+" "+word()+"\n\n", "// +build "+word()+"\n// +build "+word()+"\n\n", "// +build "+word()+"\n",
			"/* Text. */\n\n//go:build "+expr(0)+"\n\n") + "package p\n" + one("", "\n//go:build "+word()+"\n")
		x := Of("/dir/"+name, []byte(src), false)
		for range 10 {
			s := System{minor: len(build.Default.ReleaseTags),
				cgo: random.IntN(2) == 0}.on(platforms[random.IntN(len(platforms))])
			if random.IntN(2) == 0 {
				s.tags = []string{"special"}
			}
			ctx := build.Context{GOOS: s.goos, GOARCH: s.goarch, CgoEnabled: s.cgo, Compiler: "gc", BuildTags: s.tags,
				ReleaseTags: build.Default.ReleaseTags,
				OpenFile:    func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(src)), nil }}
			want, err := ctx.MatchFile("/dir", name)
			if err != nil || strings.HasPrefix(name, "_") {
				continue
			}
			if got := s.Satisfies(x); got != want {
				t.Fatalf("%s on %s: got %v, go/build %v; %q has constraint %q", name, s.String(), got, want, src, String(x))
			}
		}
	}
}

func TestImplies(t *testing.T) {
	t.Parallel()
	parse := func(text string) constraint.Expr {
		if text == "" {
			return nil
		}
		x, err := constraint.Parse("//go:build " + text)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"linux", "", true},
		{"", "linux", false},
		{"", "linux || !linux", true},
		{"", "unix || windows || plan9 || js || wasip1", true},
		{"", "cgo || !cgo", true},
		{"", "gc", true},
		{"linux && amd64", "unix", true},
		{"android", "linux", true},
		{"linux", "android", false},
		{"ios", "darwin && !linux", true},
		{"special && linux", "special", true},
		{"special", "other", false},
		{"go1.18", "go1.17", false},
		{"linux && windows", "plan9", true},
		{"a && b && c && d && e && f && g && h && i", "a", false}, // too many to try
	} {
		if got := Implies(parse(test.a), parse(test.b)); got != test.want {
			t.Errorf("%q implies %q: %v", test.a, test.b, got)
		}
	}
	for want, parts := range map[string][]string{
		"":                 {"linux", "!linux"},
		"darwin || linux":  {"linux", "darwin", "linux"},
		"special":          {"special"},
		"cgo || (b && !c)": {"b && !c", "cgo"},
	} {
		var all []constraint.Expr
		for _, text := range parts {
			all = append(all, parse(text))
		}
		if got := String(Either(all)); got != want && got != "(b && !c) || cgo" {
			t.Errorf("either of %q is %q", parts, got)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	here := System{goos: "linux", goarch: "amd64", cgo: true, tags: []string{"special"}, minor: 26}
	for text, want := range map[string]string{
		"linux":                     "linux/amd64 cgo=true tags=special",
		"!cgo":                      "linux/amd64 cgo=false tags=special",
		"more":                      "linux/amd64 cgo=true tags=more,special",
		"!special":                  "linux/amd64 cgo=true tags=",
		"windows && other":          "windows/amd64 cgo=false tags=other,special",
		"darwin && cgo":             "darwin/arm64 cgo=true tags=special",
		"!linux":                    "darwin/arm64 cgo=false tags=special",
		"plan9 && arm":              "plan9/arm cgo=false tags=special",
		"go1.20":                    "linux/amd64 cgo=true tags=special",
		"ignore":                    "",
		"go1.99":                    "",
		"gccgo":                     "",
		"linux && windows":          "",
		"zos":                       "",
		"a&&b&&c&&d&&e&&f&&g&&h&&i": "",
	} {
		x, err := constraint.Parse("//go:build " + text)
		if err != nil {
			t.Fatal(err)
		}
		s, ok := here.Nearest(x)
		if got := s.String(); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %s, %v", text, got, ok)
		}
	}
}

func TestPlatformsAreComplete(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "tool", "dist", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for p := range strings.FieldsSeq(string(out)) {
		if !slices.Contains(platforms, p) {
			t.Errorf("%s is not among the platforms", p)
		}
	}
}
