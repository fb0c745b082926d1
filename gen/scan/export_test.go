package scan

import (
	"context"
	"slices"
)

// Parsed scans and returns the import paths of the packages that were parsed.
func Parsed(ctx context.Context, cfg Config) ([]string, error) {
	sc := newScanner(cfg, nil, false)
	_, err := sc.scan(ctx)
	var paths []string
	for u := range sc.Units() {
		if u.Names != nil {
			paths = append(paths, u.Pkg.PkgPath)
		}
	}
	slices.Sort(paths)
	return paths, err
}
