package gen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/gen/manifest"
	"github.com/afgen/afgen/gen/scan"
)

// A clientFiles has the generated files of client packages.
type clientFiles struct {
	wanted []wanted
	from   map[string]map[string][]byte // by import path of the origin, then by import path and name of the file
	places map[string]place             // by path
}

// A place is the contract file that contains the checksum of a file, and the key of the checksum in it.
type place struct{ contract, name string }

// emitClients generates the files of client packages. It omits those of packages in stays, whose output is kept.
func emitClients(res *scan.Result, stays map[string]bool) (*clientFiles, error) {
	all := &clientFiles{nil, map[string]map[string][]byte{}, map[string]place{}}
	var pkgs []*ir.Package
	dirs := map[string]string{}
	for _, p := range res.Packages {
		pkgs = append(pkgs, p.IR)
		dirs[p.IR.Path] = p.Dir
	}
	for _, c := range res.Clients {
		files, err := emit.Clients(c.IR, pkgs)
		if err != nil {
			return nil, fmt.Errorf("%s: bug in afgen, package %s: %w", diag.Internal, c.IR.Path, err)
		}
		w := wanted{dir: c.Dir, files: map[string]manifest.Sum{}, contents: map[string][]byte{}}
		for _, f := range files {
			origin, file, name := emit.Origin(f.Content), filepath.Join(c.Dir, f.Name), c.IR.Path+"/"+f.Name
			if stays[origin] {
				continue
			}
			if all.from[origin] == nil {
				all.from[origin] = map[string][]byte{}
			}
			all.from[origin][name] = f.Content
			w.files[file], w.contents[file] = manifest.SumOf(f.Content), f.Content
			all.places[file] = place{filepath.Join(dirs[origin], emit.ContractFile), name}
		}
		w.ir = manifest.SumOf([]byte(c.Dir)) // unused: client files are generated in each run
		all.wanted = append(all.wanted, w)
	}
	return all, nil
}

// ownOutputs returns the generated files on disk that this run may remove. These are the files in searched directories,
// except client halves of packages that were not searched. Client halves in other directories belong to them too, if
// the contract of a searched package names them. Output for files that can't be analyzed doesn't.
func ownOutputs(res *scan.Result) ([]string, error) {
	var own []string
	for _, path := range res.Outputs {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if filepath.Base(path) == emit.ContractFile && !res.Keeps(filepath.Dir(path)) {
			files, err := unsearchedClients(res, content)
			if err != nil {
				return nil, err
			}
			own = append(own, files...)
		}
		origin := emit.Origin(content)
		if dir, ok := res.Dir(origin); ok && origin != "" {
			res.Inputs.Paths = append(res.Inputs.Paths, dir) // if it is removed, the file is an orphan
		}
		if !res.Keeps(filepath.Dir(path)) && (origin == "" || coversPackage(res, origin)) {
			own = append(own, path)
		}
	}
	slices.Sort(own)
	return slices.Compact(own), nil
}

// coversPackage reports whether this run has scanned all of a package, or the package no longer exists.
func coversPackage(res *scan.Result, pkg string) bool {
	dir, ok := res.Dir(pkg)
	if !ok {
		return false
	}
	_, err := os.Stat(dir)
	return errors.Is(err, fs.ErrNotExist) || res.Searched(dir) && !res.Keeps(dir)
}

// unsearchedClients returns the client halves of a package, according to its contract file, in directories that were
// not searched.
func unsearchedClients(res *scan.Result, contractFile []byte) (files []string, err error) {
	pkg, clients := contract.ClientPackages(contractFile)
	for _, c := range clients {
		dir, ok := res.Dir(c)
		if !ok || res.Searched(dir) {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("looking for client halves of %s: %w", pkg, err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if filepath.Ext(path) != ".go" || e.IsDir() {
				continue
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("looking for client halves of %s: %w", pkg, err)
			}
			if emit.Origin(content) == pkg {
				files = append(files, path)
			}
		}
	}
	return files, nil
}
