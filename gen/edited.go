package gen

import (
	"os"
	"path/filepath"

	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/emit"
)

// markEdited changes the kind of stale files that were edited. It compares them with the checksums in the contract on
// disk: if the checksum matches, the code has changed, otherwise the file has. The result depends only on the
// repository, so it is the same on every machine.
func (p *Plan) markEdited(elsewhere map[string]place) {
	for i, c := range p.Changes {
		if c.Kind != Stale {
			continue
		}
		at, ok := elsewhere[c.Path]
		if !ok {
			at = place{filepath.Join(filepath.Dir(c.Path), emit.ContractFile), filepath.Base(c.Path)}
		}
		written, err := os.ReadFile(at.contract)
		if err == nil && contract.Edited(written, at.name, c.Old) {
			p.Changes[i].Kind = Edited
		}
	}
}
