package scan

import (
	"fmt"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/scan/internal/load"
	"github.com/afgen/afgen/gen/scan/internal/pattern"
)

// Inside resolves the symbolic links in the path of a directory, which need not exist. It returns the root directory of
// its module and its path relative to that. It fails if a link leads out of the module. If the module is unknown, root
// is the directory itself.
func (r *Result) Inside(dir string) (root, rel string, err error) {
	return r.scanner.Inside(load.Links{}, dir) // links may have changed since the scan
}

// checkInside reports a package whose directory is outside the module.
func (sc *scanner) checkInside(u *unit) {
	if _, _, err := sc.Inside(sc.links, u.Pkg.Dir); err != nil {
		sc.reportDirective(u.types[0].directive, diag.OutsideModule,
			fmt.Sprintf("nothing is written to %s: %v", pattern.Relative(sc.config.Dir, u.Pkg.Dir), err),
			"run afgen in the module that contains the directory, or move the directory into this module")
	}
}
