package gen

import (
	"testing"

	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/ir"
)

// FailToEmit makes emit fail for one package.
func FailToEmit(t *testing.T, path string, bug error) {
	t.Cleanup(func() { emitPackage = emit.Package })
	emitPackage = func(p *ir.Package, elsewhere map[string][]byte) ([]emit.File, error) {
		if p.Path == path {
			return nil, bug
		}
		return emit.Package(p, elsewhere)
	}
}
