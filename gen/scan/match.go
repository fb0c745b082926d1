package scan

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

// CheckMatches fails if patterns that lead to no annotated package match no package at all: in the directory of go.work,
// outside of modules, in a directory without Go files. A run that looks at nothing must not pass for one that finds
// nothing wrong. The error is what the go command reports. Packages without annotations are no error.
func (r *Result) CheckMatches(ctx context.Context) error {
	w, f := r.loader, r.found
	bare := f.bare(w.config)
	if len(bare) == 0 {
		return nil
	}
	pkgs, err := w.list(ctx, packages.NeedName|packages.NeedFiles, bare)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range pkgs {
		err := w.admit(p)
		leftovers := len(p.GoFiles) == 0 && slices.ContainsFunc(f.outputs, func(o string) bool { return matchesAny(w.config, bare, filepath.Dir(o)) })
		if err != nil && !(leftovers && strings.Contains(err.Error(), "no Go files in")) {
			errs = append(errs, err)
		}
	}
	if len(pkgs) == 0 && !f.code && len(f.rest)+len(f.outputs) == 0 {
		for _, p := range bare {
			errs = append(errs, fmt.Errorf("%q matched no packages", p))
		}
	}
	return errors.Join(errs...)
}

// bare lists the patterns for directories that hold no annotations.
func (f *found) bare(cfg Config) []string {
	return slices.DeleteFunc(cfg.patterns(), func(p string) bool {
		return slices.Contains(f.rest, p) ||
			slices.ContainsFunc(f.dirs, func(dir string) bool { return matchesAny(cfg, []string{p}, dir) })
	})
}

// matchesAny reports whether one of some patterns names a directory.
func matchesAny(cfg Config, patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		base, deep, ok := dirOfPattern(cfg.Dir, p)
		return ok && (dir == base || deep && strings.HasPrefix(dir, strings.TrimSuffix(base, string(filepath.Separator))+string(filepath.Separator)))
	})
}
