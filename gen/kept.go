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

// keep returns the packages, by import path, whose output stays as it is: some of it was generated for annotated files that
// can't be analysed here. If the rest of such a package has changed, that is a diagnostic.
func (p *Plan) keep() (stays map[string]bool, err error) {
	stays = map[string]bool{}
	for _, k := range p.Kept {
		file := filepath.Join(k.Dir, emit.ContractFile)
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // nothing was generated for it
		}
		if err != nil {
			return nil, err
		}
		written, err := contract.Unmarshal(content)
		if err != nil {
			return nil, fmt.Errorf("%s can't be analysed here, and so its output can't be made anew: %s: %w", k.File, file, err)
		}
		rest, has := without(written, p.typesKept(k.Dir))
		i := slices.IndexFunc(p.Packages, func(pkg scan.Package) bool { return pkg.Dir == k.Dir })
		switch {
		case !has:
		case i < 0 || same(contract.Of(p.Packages[i].IR), rest):
			stays[k.Package] = true
		default:
			p.Diagnostics = append(p.Diagnostics, diag.Diagnostic{Code: diag.NotHere, Pos: diag.Pos{File: k.File, Line: 1, Column: 1}, Width: 1,
				Message: fmt.Sprintf("the output of package %s has to change, and this file can't be analysed here", k.Package),
				Hint:    "run afgen with a Go version that compiles it"})
		}
	}
	p.Diagnostics.Sort()
	return stays, nil
}

// typesKept lists the annotated types in the files of a directory that can't be analysed.
func (p *Plan) typesKept(dir string) (types []string) {
	for _, k := range p.Kept {
		if k.Dir == dir {
			types = append(types, k.Types...)
		}
	}
	return types
}

// without removes the services and workers of some types from a contract, and reports whether it had any.
func without(c contract.Contract, types []string) (rest contract.Contract, had bool) {
	rest = c
	rest.Services, rest.Workers = map[string]contract.Service{}, map[string]contract.Worker{}
	for name, s := range c.Services {
		if slices.Contains(types, s.Type) {
			had = true
		} else {
			rest.Services[name] = s
		}
	}
	for name, w := range c.Workers {
		if slices.Contains(types, w.Type) {
			had = true
		} else {
			rest.Workers[name] = w
		}
	}
	return rest, had
}

// same reports whether a contract has the same services and workers as another, which may have types that they don't reach.
func same(now, written contract.Contract) bool {
	if len(now.Services) != len(written.Services) || len(now.Workers) != len(written.Workers) {
		return false
	}
	for name, s := range now.Services {
		if !reflect.DeepEqual(s, written.Services[name]) {
			return false
		}
	}
	for name, w := range now.Workers {
		if !reflect.DeepEqual(w, written.Workers[name]) {
			return false
		}
	}
	for name, t := range now.Types {
		if other, ok := written.Types[name]; !ok || !reflect.DeepEqual(t, other) {
			return false
		}
	}
	return true
}
