//go:build !race

package archtest

import (
	"os"
	"testing"

	"golang.org/x/tools/go/packages"

	"github.com/afgen/afgen/internal/testkit"
)

// All packages and their tests type-check on systems for which CI has no machine. Type-checking all dependencies
// takes a tenth of the time of compiling them.
func TestTypesOnOtherSystems(t *testing.T) {
	testkit.Long(t, "checks the types of all dependencies")
	for _, system := range []string{"darwin", "windows"} {
		t.Run(system, func(t *testing.T) {
			cfg := &packages.Config{
				Mode: packages.LoadAllSyntax, Tests: true, Dir: "../..",
				Env: append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0", "GOFLAGS="),
			}
			all, err := packages.Load(cfg, "./...")
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			packages.Visit(all, nil, func(p *packages.Package) {
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
