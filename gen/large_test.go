package gen_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/internal/testkit"
)

// small matches packages that build quickly.
var small = regexp.MustCompile(`^golang\.org/x/tools/(benchmark|blog|container|cover|go/(ast|cfg|packages|vcs|types)|` +
	`internal/(event|diff|jsonrpc2|stdlib|memoize|proxydir)|present|playground|txtar)`)

var buildAll = flag.Bool("large", false, "build all code generated for a large module, not only a part")

// TestLargeModule makes each exported struct of a large public module a service. First it uses the existing methods,
// most of which get a diagnostic. Then it adds valid methods with types of the package as parameters and results. Types
// that can't be sent get a diagnostic; code for the others is generated and compiled.
func TestLargeModule(t *testing.T) {
	testkit.Long(t, "generates for a large module and builds it")
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "off")
	m := largeModule(t)
	m.inject(t, func(*target) bool { return false })
	p := plan(t, m.dir)
	codes := map[diag.Code]int{}
	for _, d := range p.Diagnostics {
		codes[d.Code]++
		if d.Pos.Line == 0 || d.Code == diag.Internal || d.Code == diag.TypeError {
			t.Errorf("existing methods: %s:%d: %s: %s", d.Pos.File, d.Pos.Line, d.Code, d.Message)
		}
	}
	t.Logf("existing methods: %d structs, %v", len(m.targets), codes)

	m.inject(t, func(*target) bool { return true })
	clear(codes)
	for round := 0; ; round++ {
		p = plan(t, m.dir)
		if len(p.Diagnostics) == 0 {
			break
		}
		if round > 40 {
			t.Fatalf("remaining diagnostics: %v", p.Diagnostics)
		}
		for _, d := range p.Diagnostics {
			codes[d.Code]++
			m.drop(t, d)
		}
		m.inject(t, func(*target) bool { return true })
	}
	apply(t, p)
	services := 0
	var build []string
	for _, pkg := range p.Packages {
		services += len(pkg.IR.Services)
		if *buildAll || small.MatchString(pkg.IR.Path) {
			build = append(build, pkg.IR.Path)
		}
	}
	t.Logf("with a method that fits: %d services in %d packages, after %v; building %d packages", services,
		len(p.Packages), codes, len(build))
	if services < 50 || len(build) < 5 {
		t.Error("too few cases")
	}
	out, err := m.command("go", append([]string{"build"}, build...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A large is a copy of a module in which structs are annotated.
type large struct {
	dir     string
	sources map[string][]byte // original contents, by path
	targets []*target
}

// A target is a struct that may be annotated.
type target struct {
	dir, pkg, name string
	file           string
	at             int   // offset for the annotation
	methods        []int // offsets of methods in files
	files          []string
	types          []string // all exported types of the package
	dropped        bool
}

// largeModule copies golang.org/x/tools at the version that this module uses.
func largeModule(t *testing.T) *large {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/tools").Output()
	if err != nil {
		t.Fatal(err)
	}
	from := strings.TrimSpace(string(out))
	m := &large{dir: t.TempDir(), sources: map[string][]byte{}}
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || rel != "." && exists(filepath.Join(path, "go.mod"))):
			return filepath.SkipDir
		case d.IsDir() || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		content, err := os.ReadFile(path)
		if err == nil && rel == "go.mod" {
			content = append(content,
				"\nrequire github.com/afgen/afgen v0.0.0\n\nreplace github.com/afgen/afgen => ./_afgen\n"...)
		}
		m.sources[filepath.Join(m.dir, rel)] = content
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	stub, err := os.ReadFile(filepath.Join("emit", "testdata", "runtime", "runtime.go"))
	if err != nil {
		t.Fatal(err)
	}
	m.sources[filepath.Join(m.dir, "_afgen", "go.mod")] = []byte("module github.com/afgen/afgen\n\ngo 1.26\n")
	m.sources[filepath.Join(m.dir, "_afgen", "runtime", "runtime.go")] = stub
	for path, content := range m.sources {
		put(t, "", path, string(content))
	}
	m.find(t)
	return m
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (m *large) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = m.dir
	return cmd
}

// find collects the structs of the packages that can be built.
func (m *large) find(t *testing.T) {
	cmd := m.command("go", "list", "-f", "{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}\n{{end}}", "./...")
	var problems strings.Builder
	cmd.Stderr = &problems // may also report downloads
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &problems)
	}
	fset := token.NewFileSet()
	folders := map[string][]*ast.File{}
	for path := range strings.Lines(string(out)) {
		path = filepath.FromSlash(strings.TrimSpace(path))
		if path == "" {
			continue
		}
		f, err := parser.ParseFile(fset, path, m.sources[path], parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		folders[filepath.Dir(path)] = append(folders[filepath.Dir(path)], f)
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		m.findIn(fset, dir, folders[dir])
	}
}

func (m *large) findIn(fset *token.FileSet, dir string, files []*ast.File) {
	byName := map[string]*target{}
	var types []string
	for _, f := range files {
		for _, d := range f.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, s := range gen.Specs {
				spec := s.(*ast.TypeSpec)
				if !spec.Name.IsExported() || spec.TypeParams != nil {
					continue
				}
				types = append(types, spec.Name.Name)
				if _, ok := spec.Type.(*ast.StructType); !ok || spec.Assign.IsValid() {
					continue
				}
				at := spec.Pos()
				if !gen.Lparen.IsValid() {
					at = gen.Pos()
				}
				place := fset.Position(at)
				byName[spec.Name.Name] = &target{dir: dir, pkg: f.Name.Name, name: spec.Name.Name, file: place.Filename,
					at: place.Offset}
			}
		}
	}
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || !fn.Name.IsExported() {
				continue
			}
			recv := fn.Recv.List[0].Type
			if star, ok := recv.(*ast.StarExpr); ok {
				recv = star.X
			}
			if id, ok := recv.(*ast.Ident); ok && byName[id.Name] != nil {
				place := fset.Position(fn.Pos())
				byName[id.Name].methods = append(byName[id.Name].methods, place.Offset)
				byName[id.Name].files = append(byName[id.Name].files, place.Filename)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		byName[name].types = types
		m.targets = append(m.targets, byName[name])
	}
}

// pick returns the type of a parameter or result of the target's probe.
func (t *target) pick(n int) string {
	return t.types[(slices.Index(t.types, t.name)+n)%len(t.types)]
}

// carries reports whether the probe of a target uses a type of its package.
func (t *target) carries(dir, typ string) bool {
	return t.dir == dir && slices.ContainsFunc([]int{0, 1, 2, 3}, func(n int) bool { return t.pick(n) == typ })
}

// inject annotates the remaining targets, either with their methods or with only a valid method.
func (m *large) inject(t *testing.T, fits func(*target) bool) {
	t.Helper()
	type insertion struct {
		at   int
		text string
	}
	into, probes := map[string][]insertion{}, map[string]string{}
	for i, target := range m.targets {
		for _, file := range append(target.files, target.file) {
			into[file] = append(into[file], insertion{})
		}
		probe := filepath.Join(target.dir, "zz_probe.go")
		probes[probe] += ""
		if target.dropped {
			continue
		}
		into[target.file] = append(into[target.file], insertion{target.at, fmt.Sprintf("//af:rpc name=s%d\n", i)})
		if !fits(target) {
			continue
		}
		for i, at := range target.methods {
			into[target.files[i]] = append(into[target.files[i]], insertion{at, "//af:skip\n"})
		}
		if probes[probe] == "" {
			probes[probe] = "package " + target.pkg + "\n\nimport \"context\"\n\n"
		}
		pick := target.pick
		probes[probe] += fmt.Sprintf("func (*%s) AfProbe%d(ctx context.Context, a %s, b *%s, c ...%s) "+
			"(d map[string]%s, err error) { return }\n",
			target.name, i, pick(0), pick(1), pick(2), pick(3))
	}
	for path, insertions := range into {
		slices.SortStableFunc(insertions, func(a, b insertion) int { return cmp.Compare(a.at, b.at) })
		var b bytes.Buffer
		done := 0
		for _, in := range insertions {
			b.Write(m.sources[path][done:in.at])
			b.WriteString(in.text)
			done = in.at
		}
		b.Write(m.sources[path][done:])
		put(t, "", path, b.String())
	}
	for path, probe := range probes {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if probe != "" {
			put(t, "", path, probe)
		}
	}
}

// drop removes the target of a diagnostic, whose message begins with the probe or whose position is the declaration.
func (m *large) drop(t *testing.T, d diag.Diagnostic) {
	t.Helper()
	source, err := os.ReadFile(d.Pos.File)
	if err != nil || d.Pos.Line == 0 || d.Code == diag.Internal {
		t.Fatalf("%v, %v", d, err)
	}
	probe := regexp.MustCompile(`^AfProbe(\d+): (?:parameter|result) ([a-d])`)
	if about := probe.FindStringSubmatch(d.Message); about != nil {
		i, _ := strconv.Atoi(about[1])
		typ := m.targets[i].pick(int(about[2][0] - 'a'))
		for _, other := range m.targets { // a field is reported once per run
			other.dropped = other.dropped || other.carries(m.targets[i].dir, typ)
		}
		return
	}
	lines := strings.Split(string(source), "\n")
	text := lines[d.Pos.Line-1]
	if strings.HasPrefix(strings.TrimSpace(text), "//") {
		text = lines[d.Pos.Line]
	}
	for _, target := range m.targets {
		if target.dir == filepath.Dir(d.Pos.File) &&
			(strings.Contains(text, "(*"+target.name+") ") || strings.Contains(text, target.name+" struct")) {
			target.dropped = true
			return
		}
	}
	t.Fatalf("no target for %s:%d: %s: %s", d.Pos.File, d.Pos.Line, d.Code, d.Message)
}
