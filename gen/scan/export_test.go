package scan

import (
	"context"
	"maps"
	"slices"
)

// Parsed scans and returns the import paths of the packages whose files were parsed.
func Parsed(ctx context.Context, cfg Config) ([]string, error) {
	w := newLoader(cfg)
	_, err := w.scan(ctx)
	maps.DeleteFunc(w.units, func(_ string, u *unit) bool { return !u.parsed })
	return slices.Sorted(maps.Keys(w.units)), err
}
