package gen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/scan"
)

// keepOutputs returns the import paths of packages whose output is kept, because some of it was generated for annotated
// files that can't be analyzed. It reports a diagnostic if the rest of such a package has changed. It removes files
// with the tag ignore and without output from p.Kept.
func (p *Plan) keepOutputs() (stays map[string]bool, err error) {
	stays = map[string]bool{}
	all := p.scanned.Kept
	p.Kept = slices.DeleteFunc(slices.Clone(all), func(k scan.Kept) bool { return k.Ignored })
	for _, k := range all {
		file := filepath.Join(k.Dir, emit.ContractFile)
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // nothing was generated for it
		}
		if err != nil {
			return nil, err
		}
		written, err := contract.Unmarshal(content)
		if err != nil && k.Ignored {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w; restore the file, because %s can't be analyzed and its output is kept",
				file, err, k.File)
		}
		if _, has := without(written, k.Types); !has {
			continue
		}
		if k.Ignored {
			p.Kept = append(p.Kept, k)
		}
		rest, _ := without(written, typesKept(all, k.Dir))
		var now contract.Contract
		if i := slices.IndexFunc(p.Packages, func(pkg scan.Package) bool { return pkg.Dir == k.Dir }); i >= 0 {
			now = contract.Of(p.Packages[i].IR)
		}
		if sameContract(now, rest) {
			stays[k.Package] = true
		} else {
			p.Diagnostics = append(p.Diagnostics, diag.Diagnostic{
				Code: diag.NotHere, Pos: diag.Pos{File: k.File, Line: 1, Column: 1}, Width: 1,
				Message: fmt.Sprintf("the output of package %s must change, but this file can't be analyzed", k.Package),
				Hint:    "run afgen with a Go version that compiles it",
			})
		}
	}
	p.Diagnostics.Sort()
	p.scanned.Kept = p.Kept
	return stays, nil
}

// typesKept returns the annotated types in the files of a directory that can't be analyzed.
func typesKept(all []scan.Kept, dir string) (types []string) {
	for _, k := range all {
		if k.Dir == dir {
			types = append(types, k.Types...)
		}
	}
	return types
}

// without returns a contract without the services and workers of some types, and reports whether it had any.
func without(c contract.Contract, types []string) (rest contract.Contract, had bool) {
	rest = c
	rest.Services = withoutTypes(c.Services, types, func(s contract.Service) string { return s.Type })
	rest.Workers = withoutTypes(c.Workers, types, func(w contract.Worker) string { return w.Type })
	return rest, len(rest.Services)+len(rest.Workers) < len(c.Services)+len(c.Workers)
}

func withoutTypes[T any](all map[string]T, types []string, typeOf func(T) string) map[string]T {
	rest := map[string]T{}
	for name, one := range all {
		if !slices.Contains(types, typeOf(one)) {
			rest[name] = one
		}
	}
	return rest
}

// sameContract reports whether two contracts have the same services and workers. written may have more types.
func sameContract(now, written contract.Contract) bool {
	return len(now.Services) == len(written.Services) && includes(written.Services, now.Services) &&
		len(now.Workers) == len(written.Workers) && includes(written.Workers, now.Workers) &&
		includes(written.Types, now.Types)
}

// includes reports whether all contains the entries of some.
func includes[T any](all, some map[string]T) bool {
	for name, one := range some {
		if other, ok := all[name]; !ok || !reflect.DeepEqual(one, other) {
			return false
		}
	}
	return true
}
