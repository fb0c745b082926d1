package scan

import (
	"fmt"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/scan/internal/load"
	"github.com/afgen/afgen/gen/scan/internal/pattern"
)

// Inside returns where a directory really is, symbolic links followed: the directory of its module, and its path in
// that. The directory need not exist. It fails if a link leads out of the module. For a directory of no module that is
// known, root is the directory itself.
func (r *Result) Inside(dir string) (root, rel string, err error) {
	return r.scanner.Inside(load.Links{}, dir) // the links may have changed since the scan
}

// checkInside reports a package whose directory is outside the module: its files would be written there.
func (sc *scanner) checkInside(u *unit) {
	if _, _, err := sc.Inside(sc.links, u.Pkg.Dir); err != nil {
		sc.reportDirective(u.types[0].directive, diag.OutsideModule, fmt.Sprintf("nothing is written to %s: %v", pattern.Relative(sc.config.Dir, u.Pkg.Dir), err),
			"run afgen in the module that the directory is in, or move the directory into this one")
	}
}
