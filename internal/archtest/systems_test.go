//go:build !race

package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"

	"github.com/afgen/afgen/internal/testkit"
)

// All packages and their tests type-check on systems for which CI has no machine. Only the declarations of dependencies
// do; make test-long compiles them for these systems.
func TestTypesOnOtherSystems(t *testing.T) {
	testkit.Long(t, "checks the types of all dependencies")
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	root += string(filepath.Separator)
	parse := func(fset *token.FileSet, name string, text []byte) (*ast.File, error) {
		file, err := parser.ParseFile(fset, name, text, parser.AllErrors|parser.ParseComments|parser.SkipObjectResolution)
		if file != nil && !strings.HasPrefix(name, root) {
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
					f.Body.List = nil
				}
			}
		}
		return file, err
	}
	for _, system := range []string{"darwin", "windows"} {
		t.Run(system, func(t *testing.T) {
			cfg := &packages.Config{
				Mode: packages.LoadAllSyntax | packages.NeedModule, Tests: true, Dir: "../..", ParseFile: parse,
				Env: append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0", "GOFLAGS="),
			}
			all, err := packages.Load(cfg, "./...")
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			packages.Visit(all, nil, func(p *packages.Package) {
				// Functions without statements don't use imports, nor return. Files outside of root are such, also those that
				// go test writes for the main package of a test.
				if p.Module == nil || !p.Module.Main || strings.HasSuffix(p.PkgPath, ".test") {
					return
				}
				n++
				for _, err := range p.Errors {
					t.Error(err)
				}
			})
			if n < 200 {
				t.Errorf("only %d packages were checked", n)
			}
		})
	}
}
