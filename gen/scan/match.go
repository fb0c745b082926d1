package scan

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/scan/internal/pattern"
)

// CheckMatches returns an error if a pattern matches no package, for example outside modules or in a directory without
// Go files. Otherwise a run that scans nothing would look like one without problems. The error is that of the go
// command. Packages without annotations are not an error.
func (r *Result) CheckMatches(ctx context.Context) error {
	sc, f := r.scanner, r.found
	bare := f.unannotated(sc.config)
	if len(bare) == 0 {
		return nil
	}
	pkgs, err := sc.Match(ctx, bare)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range pkgs {
		leftovers := p.Empty && slices.ContainsFunc(f.outputs, func(o string) bool {
			return pattern.AnyNames(sc.config.Dir, bare, filepath.Dir(o))
		})
		if p.Err != nil && !(leftovers && strings.Contains(p.Err.Error(), "no Go files in")) {
			errs = append(errs, p.Err)
		}
	}
	if len(pkgs) == 0 && !f.code && len(f.rest)+len(f.outputs) == 0 {
		for _, p := range bare {
			errs = append(errs, fmt.Errorf("%q matched no packages", p))
		}
	}
	return errors.Join(errs...)
}

// unannotated returns the patterns for directories without annotations.
func (f *found) unannotated(cfg Config) []string {
	return slices.DeleteFunc(cfg.patterns(), func(p string) bool {
		return slices.Contains(f.rest, p) ||
			slices.ContainsFunc(f.dirs, func(dir string) bool { return pattern.AnyNames(cfg.Dir, []string{p}, dir) })
	})
}
