package gen_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/manifest"
	"github.com/afgen/afgen/internal/testkit"
)

var (
	soundFor  = flag.Duration("sound", 0, "minimum duration of random changes")
	soundSeed = flag.Uint64("seed", 0, "seed of random changes; 0 is a random one")
)

// After any change of a module, its dependencies and its environment, a run with a manifest has the same result as one
// without.
func TestManifestNeverHidesChange(t *testing.T) {
	seed := *soundSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	s := newSandbox(t, rand.New(rand.NewPCG(seed, 1)))
	rounds := testkit.Fewer(2*kinds, kinds/2)
	until := time.Now().Add(*soundFor)
	for round := 0; round < rounds || time.Now().Before(until); round++ {
		when := fmt.Sprintf("seed %d, round %d", seed, round)
		s.log = nil
		s.back()
		s.compare(when, true)
		if !s.compare(when, true) {
			t.Fatalf("%s: a second run without changes was not recognized", when)
		}
		for i := range 3 {
			kind := s.random.IntN(kinds)
			if i == 0 { // all kinds in turn
				kind = round % kinds
			}
			s.edit(kind)
			s.compare(when, s.random.IntN(4) > 0)
		}
	}
	t.Logf("seed %d", seed)
}

// A sandbox is a module with several variants of each file. The first variant is valid. An empty one means that the
// file doesn't exist.
type sandbox struct {
	t      *testing.T
	random *rand.Rand
	top    string // the module is in top/m
	store  manifest.Store
	files  []slot
	env    []slot
	tags   slot
	log    []string
}

type slot struct {
	name     string
	variants []string
	now      int
}

const anItem = "package item\n\ntype Item struct{ N int8 }\n"

func newSandbox(t *testing.T, random *rand.Rand) *sandbox {
	const a = "package a\n\nimport (\n\t\"context\"\n\n\t\"dep.test/dep\"\n\t\"x.test/item\"\n)\n\n//af:rpc\n" +
		"type A struct{}\n\n" +
		"func (A) Add(ctx context.Context, i item.Item, d dep.Dep) (int, error) { return 1, nil }\n"
	more := func(pkg, constraint, method string) string {
		return constraint + "package " + pkg + "\n\nimport \"context\"\n\nfunc (A) " + method +
			"(context.Context) error { return nil }\n"
	}
	service := func(pkg, name string) string {
		return "package " + pkg + "\n\nimport \"context\"\n\n//af:rpc\ntype " + name + " struct{}\n\nfunc (" + name +
			") Do(context.Context) error { return nil }\n"
	}
	mod := func(dep, rest string) string {
		return "module x.test\n\ngo 1.26\n\nrequire (\n\tdep.test v0.0.0\n\tgithub.com/afgen/afgen v0.0.0\n)\n\nreplace (\n" +
			"\tdep.test => ../" + dep +
			"\n\tgithub.com/afgen/afgen => ../rt\n)\n" + rest
	}
	const depMod, work = "module dep.test\n\ngo 1.26\n", "go 1.26\n\nuse ./m\n"
	s := &sandbox{t: t, random: random, top: t.TempDir(), store: manifest.Store(t.TempDir()),
		files: []slot{
			{name: "m/go.mod", variants: []string{mod("dep", ""), mod("dep2", ""), mod("dep", "// more\n"),
				mod("dep", "\nignore ./b\n")}},
			{name: "m/a/a.go", variants: []string{a, strings.Replace(a, "return 1", "return 2", 1),
				strings.Replace(a, "Add", "Sum", 1),
				strings.Replace(a, "(int, error)", "(any, error)", 1), strings.Replace(a, "item.Item", "item.More", 1),
				strings.Replace(a, "//af:rpc", "//af:rcp", 1), strings.Replace(a, "//af:rpc", "// af rp", 1),
				strings.Replace(a, ", error", "", 1)}},
			{name: "m/a/more.go", variants: []string{"", more("a", "", "More"), more("a", "", "Mere"), "package a\n\nfunc {"}},
			// Services with build constraints. Their output is the same on all systems, and is kept if a file can't be
			// analyzed.
			{name: "m/a/more_windows.go",
				variants: []string{"", service("a", "Windows"), more("a", "", "Windows"), service("a", "Special")}},
			{name: "m/a/tagged.go", variants: []string{"//go:build special\n\n" + service("a", "Special"), "",
				"//go:build bespoke\n\n" + service("a", "Special"),
				"//go:build go1.999\n\n" + service("a", "Special"), "//go:build ignore\n\n" + service("a", "Special"),
				service("a", "Special")}},
			{name: "m/a/cgo.go", variants: []string{"", "//go:build cgo\n\n" + service("a", "WithC"),
				"//go:build linux\n\n" + service("a", "WithC"),
				"//go:build !cgo\n\n" + more("a", "", "Pure"), "//go:build cgo\n\n" + more("a", "", "WithC")}},
			{name: "m/a/sort_linux.go", variants: []string{"", "package a\n\ntype Sort int\n", "package a\n\ntype Sort bool\n"}},
			{name: "m/a/a_test.go", variants: []string{"", "package a\n\nfunc afAAdd() {}\n", "package a\n"}},
			{name: "m/a/.hidden.go", variants: []string{"", "package a\n"}},
			{name: "m/item/item.go", variants: []string{anItem, strings.Replace(anItem, "int8", "bool", 1),
				strings.Replace(anItem, "N int8", "M int8", 1),
				strings.Replace(anItem, "int8", "chan int8", 1), ""}},
			{name: "m/item/more.go", variants: []string{"", "package item\n\ntype More int\n",
				"package item\n\ntype More bool\n"}},
			{name: "m/b/b.go", variants: []string{"", service("b", "B"), service("bb", "B")}},
			{name: "m/b/go.mod", variants: []string{"", "module b.test\n\ngo 1.26\n"}},
			{name: "m/b/c/c.go", variants: []string{"", service("c", "B")}},
			{name: "m/testdata/t.go", variants: []string{"", service("t", "B")}},
			{name: "m/vendor/modules.txt", variants: []string{"", "", "# none\n"}},
			{name: "m/go.work", variants: []string{"", strings.Replace(work, "./m", ".", 1),
				strings.Replace(work, "./m", "(\n\t.\n\t../w\n)", 1)}},
			{name: "go.work", variants: []string{"", work, work + "\nreplace dep.test => ./dep2\n"}},
			{name: "w/go.mod", variants: []string{"module x.test/item\n\ngo 1.26\n", "module w.test\n\ngo 1.26\n"}},
			{name: "w/w.go", variants: []string{anItem, "package w\n"}},
			{name: "dep/go.mod", variants: []string{depMod, depMod + "// more\n"}},
			{name: "dep/dep/dep.go", variants: []string{"package dep\n\ntype Dep int\n", "package dep\n\ntype Dep any\n",
				"package dep\n\ntype Dep int // of depth\n"}},
			{name: "dep2/go.mod", variants: []string{depMod}},
			{name: "dep2/dep/dep.go", variants: []string{"package dep\n\ntype Dep map[string]int\n"}},
			{name: "rt/go.mod", variants: []string{"module github.com/afgen/afgen\n\ngo 1.26\n"}},
			{name: "rt/runtime/runtime.go", variants: []string{"package runtime\n"}},
			{name: "goenv", variants: []string{"", "GOFLAGS=-tags=special\n", "GOWORK=off\n"}},
		},
		env: []slot{
			{name: "GOOS", variants: []string{"", "", "windows", "plan9"}},
			{name: "GOARCH", variants: []string{"", "", "386"}},
			{name: "CGO_ENABLED", variants: []string{"", "0", "1"}},
			{name: "GOFLAGS", variants: []string{"", "-tags=special", "-mod=mod"}},
			{name: "GOWORK", variants: []string{"", "off", ""}},
			{name: "GOEXPERIMENT", variants: []string{"", "arenas"}},
		},
		tags: slot{name: "-tags", variants: []string{"", "special", "special,cgo"}},
	}
	t.Setenv("GOENV", filepath.Join(s.top, "goenv"))
	for _, e := range s.env {
		t.Setenv(e.name, e.variants[0])
	}
	for i := range s.files {
		s.write(s.files[i], false)
	}
	return s
}

// compare compares runs with and without a manifest, and may apply the plan of the former. It reports whether the
// manifest was used.
func (s *sandbox) compare(when string, apply bool) bool {
	s.t.Helper()
	dir, opts := filepath.Join(s.top, "m"), gen.Options{Tags: s.tags.variants[s.tags.now]}
	// Manifests don't trust files that were changed immediately before.
	settle()
	whole, wholeErr := gen.Generate(s.t.Context(), dir, []string{"./..."}, opts)
	opts.Manifests = s.store
	plan, err := gen.Generate(s.t.Context(), dir, []string{"./..."}, opts)
	if fmt.Sprint(err) != fmt.Sprint(wholeErr) {
		s.t.Fatalf("%s: with a manifest: %v\nwithout: %v\n%s", when, err, wholeErr, strings.Join(s.log, "\n"))
	}
	if err != nil {
		return false
	}
	same := cmp.Equal(whole.Changes, plan.Changes, cmpopts.EquateEmpty()) &&
		cmp.Equal(whole.Diagnostics, plan.Diagnostics, cmpopts.EquateEmpty()) &&
		whole.Annotated == plan.Annotated
	if !same {
		s.t.Fatalf("%s: with a manifest (unchanged: %v): %q, %v\nwithout: %q, %v\n%s", when, plan.Unchanged,
			changes(plan, dir), plan.Diagnostics, changes(whole, dir), whole.Diagnostics, strings.Join(s.log, "\n"))
	}
	if len(plan.Diagnostics) == 0 && apply {
		if err := plan.Apply(); err != nil {
			s.t.Fatal(err)
		}
	}
	return plan.Unchanged
}

// kinds is the number of kinds of changes. The last one is the most common.
const kinds = 8

// edit changes the module or its environment. Kind 0 changes nothing.
func (s *sandbox) edit(kind int) {
	switch kind {
	case 0: // nothing
		s.log = append(s.log, "nothing")
	case 1:
		s.output()
	case 2:
		s.touch()
	case 3:
		e := &s.env[s.random.IntN(len(s.env))]
		s.choose(e)
		os.Setenv(e.name, e.variants[e.now])
	case 4:
		s.choose(&s.tags)
	case 5:
		s.sneak()
	default:
		f := &s.files[s.random.IntN(len(s.files))]
		s.choose(f)
		s.write(*f, true)
	}
}

// back restores the valid variants.
func (s *sandbox) back() {
	for i := range s.files {
		if f := &s.files[i]; f.now != 0 {
			f.now = 0
			s.write(*f, true)
		}
	}
	for i := range s.env {
		s.env[i].now = 0
		os.Setenv(s.env[i].name, s.env[i].variants[0])
	}
	s.tags.now = 0
	for _, name := range outputs() {
		path := filepath.Join(s.top, filepath.FromSlash(name))
		if content, _ := os.ReadFile(path); !emit.IsGenerated(path, content) {
			os.Remove(path)
		}
	}
}

func (s *sandbox) choose(e *slot) {
	e.now = (e.now + s.random.IntN(max(1, len(e.variants)-1)) + 1) % len(e.variants)
	s.log = append(s.log, fmt.Sprintf("%s: %d", e.name, e.now))
}

// write writes the current variant of a file, in place or by renaming, with new or old times.
func (s *sandbox) write(f slot, vary bool) {
	path, content := filepath.Join(s.top, filepath.FromSlash(f.name)), f.variants[f.now]
	var how int
	if vary {
		how = s.random.IntN(4)
	}
	before, err := os.Stat(path)
	existed := err == nil
	switch {
	case content == "" && f.name == "m/vendor/modules.txt":
		err = os.RemoveAll(filepath.Dir(path))
	case content == "":
		if err = os.Remove(path); !existed {
			err = nil
		}
	case how < 2:
		put(s.t, s.top, f.name, content)
		err = nil
	default:
		put(s.t, s.top, "aside", content)
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = os.Rename(filepath.Join(s.top, "aside"), path)
		}
	}
	if err == nil && content != "" && existed && how%2 == 1 {
		err = os.Chtimes(path, before.ModTime(), before.ModTime())
	}
	s.log = append(s.log, fmt.Sprintf("%s: %d, way %d", f.name, f.now, how))
	if err != nil {
		s.t.Fatal(err)
	}
}

// sneak edits a file in place and keeps its size and times.
func (s *sandbox) sneak() {
	f := &s.files[s.random.IntN(len(s.files))]
	for len(f.variants[0]) == 0 || len(f.variants) == 1 {
		f = &s.files[s.random.IntN(len(s.files))]
	}
	path := filepath.Join(s.top, filepath.FromSlash(f.name))
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	for i, content := range f.variants {
		if i != f.now && int64(len(content)) == info.Size() {
			f.now = i
			s.log = append(s.log, fmt.Sprintf("%s: %d, same size and times", f.name, i))
			put(s.t, s.top, f.name, content)
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
				s.t.Fatal(err)
			}
			return
		}
	}
}

func outputs() (all []string) {
	for _, dir := range []string{"m/a", "m/b", "m/item", "m/b/c"} {
		all = append(all, dir+"/af_gen.go", dir+"/af.contract.json")
	}
	for _, constraint := range []string{"windows", "special", "bespoke", "cgo", "linux", "go1.999"} {
		all = append(all, "m/a/"+emit.ConstrainedFile(constraint))
	}
	return all
}

// output edits a generated file, removes it, or adds an orphan.
func (s *sandbox) output() {
	name := outputs()[s.random.IntN(len(outputs()))]
	path := filepath.Join(s.top, filepath.FromSlash(name))
	content, err := os.ReadFile(path)
	how := s.random.IntN(3)
	s.log = append(s.log, fmt.Sprintf("%s edited: %d, %v", name, how, err))
	switch {
	case err == nil && how == 0:
		err = os.Remove(path)
	case err == nil && how == 1: // same size and times
		info, _ := os.Stat(path)
		put(s.t, s.top, name, strings.Replace(string(content), "e", "f", 1))
		err = os.Chtimes(path, info.ModTime(), info.ModTime())
	case err == nil:
		put(s.t, s.top, name, string(content)+"\n")
	case how == 0 && strings.HasSuffix(name, ".go"):
		put(s.t, s.top, name, "// Code generated by afgen. DO NOT EDIT.\n\npackage "+filepath.Base(filepath.Dir(name))+"\n")
		return
	case how == 1:
		put(s.t, s.top, name, "package mine\n")
		return
	default:
		return
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// touch changes the times of a file.
func (s *sandbox) touch() {
	f := s.files[s.random.IntN(len(s.files))]
	at := time.Now().Add(time.Duration(s.random.Int64N(int64(48*time.Hour))) - 24*time.Hour)
	s.log = append(s.log, "touch "+f.name)
	if err := os.Chtimes(filepath.Join(s.top, filepath.FromSlash(f.name)), at, at); err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
}
