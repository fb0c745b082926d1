package emit_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/ir"
)

const runtimePath = "github.com/afgen/afgen/runtime"

// The parts of the standard library that generated code and the stub of the runtime use. Type-checking the real one
// would take much longer.
const (
	contextSource = `package context
		type Context interface{ Done() <-chan struct{} }
		func Background() Context { return nil }`
	timeSource = `package time
		type Duration int64
		const (
			Nanosecond  Duration = 1
			Microsecond          = 1000 * Nanosecond
			Millisecond          = 1000 * Microsecond
			Second               = 1000 * Millisecond
			Minute               = 60 * Second
			Hour                 = 60 * Minute
		)`
)

// sources is an importer of packages with one file each.
type sources struct {
	files map[string]string
	done  map[string]*types.Package
}

func (s sources) Import(path string) (*types.Package, error) {
	if p := s.done[path]; p != nil {
		return p, nil
	}
	content, ok := s.files[path]
	if !ok {
		return nil, fmt.Errorf("no source for %q", path)
	}
	p, err := s.check(path, map[string][]byte{"source.go": []byte(content)})
	s.done[path] = p
	return p, err
}

// check type-checks files as the package path and returns all errors.
func (s sources) check(path string, files map[string][]byte) (*types.Package, error) {
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := parser.ParseFile(fset, name, files[name], parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, f)
	}
	var errs []error
	config := types.Config{Importer: s, Error: func(err error) { errs = append(errs, err) }, GoVersion: "go1.26"}
	p, _ := config.Check(path, fset, parsed, nil)
	return p, errors.Join(errs...)
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// typeCheck fails unless the first file is formatted and compiles together with user code for p.
func typeCheck(t fataler, p *ir.Package, files []emit.File) {
	t.Helper()
	stub, err := os.ReadFile("testdata/runtime/runtime.go")
	if err != nil {
		t.Fatalf("%v", err)
	}
	packages := sources{map[string]string{"context": contextSource, "time": timeSource}, map[string]*types.Package{}}
	maps.Copy(packages.files, declareOthers(p))
	packages.files[runtimePath] = string(stub)
	user, generated := declareOwn(p), files[0].Content
	all := map[string][]byte{"user.go": []byte(user), "imports.go": []byte(declareImports(p)), files[0].Name: generated}
	if _, err := packages.check(p.Path, all); err != nil {
		t.Fatalf("%v\n--- user.go\n%s\n--- %s\n%s", err, user, files[0].Name, generated)
	}
	formatted, err := format.Source(generated)
	if diff := cmp.Diff(string(formatted), string(generated)); diff != "" || err != nil {
		t.Fatalf("not formatted: %v\n%s", err, diff)
	}
}

// mustEmit returns the Go file of p and checks that it compiles.
func mustEmit(t *testing.T, p *ir.Package) string {
	t.Helper()
	files, err := emit.Package(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	typeCheck(t, p, files)
	return string(files[0].Content)
}
