package gen

import (
	"os"
	"path/filepath"

	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/emit"
)

// markEdited finds those files to be changed that were edited. The contract next to them, as it is on disk, has
// sums of what was written with it: one that holds means that the code has changed since, one that doesn't that the file
// has. Contracts are small and the sums need no more than the repository, so that the result is the same on every machine.
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
